//! Images of real servers, from the programs and libraries of this machine: nothing can be pulled. They have the names and the
//! conventions of those that everybody knows.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Docker, IMAGE};
use crate::env::portolan_program;
use crate::programs;

/// The user of the servers.
const USER: u32 = 999;
/// The start of PostgreSQL in a container whose volume may be new.
const POSTGRES: &str = "#!/bin/sh
set -e
test -s /data/PG_VERSION || {
    initdb -D /data -U postgres --auth=trust --no-locale --encoding=UTF8 > /data.log
    echo 'host all all all trust' >> /data/pg_hba.conf
}
exec postgres -D /data -c listen_addresses='*' -c unix_socket_directories=/data -c fsync=off
";

impl Docker<'_> {
    /// Creates the image `base`, in place of Debian's: a shell, and the libraries of `portolan`.
    ///
    /// # Errors
    /// `portolan` is not built, or the image cannot be imported.
    pub fn import_base(&self) -> Result<()> {
        let root = self.env.folder("base")?;
        let image = self.env.directory().join("image/bin");
        self.run_program(Command::new("cp").arg("-a").arg(image).arg(&root))?;
        for program in ["chmod", "chown", "mv"] {
            let place = root.join("bin").join(program);
            if !place.exists() {
                symlink("busybox", place)?;
            }
        }
        let portolan = portolan_program()?;
        for library in libraries(&self.run_program(Command::new("ldd").arg(&portolan))?) {
            self.copy(&library, &root)?;
        }
        fs::create_dir_all(root.join("tmp"))?;
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        self.import(&root, "base", &[])
    }

    /// Creates the images `postgres:16`, `redis:7` and `busybox:1`.
    ///
    /// # Errors
    /// A server is not installed, or the image cannot be imported.
    pub fn import_servers(&self) -> Result<()> {
        self.run(&["tag", IMAGE, "busybox:1"])?;
        let root = self.env.folder("servers")?;
        let bin = root.join("usr/bin");
        let own = |name: &str| programs::find_postgres(name);
        let mut paths = vec![
            own("postgres")?,
            programs::find_system("redis-server", "redis-server")?,
            programs::find_system("redis-cli", "redis-tools")?,
        ];
        let directory = paths[0].parent().context("a program without a directory")?.to_owned();
        paths.extend(["initdb", "pg_isready", "psql"].map(|name| directory.join(name)));
        let version = directory.parent().and_then(Path::file_name).context("no version")?;
        let version = version.to_string_lossy().into_owned();
        for path in &paths {
            self.copy(path, &root)?;
        }
        for directory in [
            format!("/usr/lib/postgresql/{version}/lib"),
            format!("/usr/share/postgresql/{version}"),
        ] {
            self.copy(Path::new(&directory), &root)?;
        }
        self.copy(Path::new("/usr/share/zoneinfo/Etc"), &root)?;
        self.run_program(
            Command::new("cp").arg("-a").arg(self.env.directory().join("image/bin")).arg(&root),
        )?;
        fs::create_dir_all(&bin)?;
        fs::create_dir_all(root.join("etc"))?;
        fs::write(root.join("etc/passwd"), format!("postgres:x:{USER}:{USER}::/data:/bin/sh\n"))?;
        fs::write(root.join("postgres.sh"), POSTGRES)?;
        fs::set_permissions(root.join("postgres.sh"), fs::Permissions::from_mode(0o755))?;
        for place in ["data", "data.log"] {
            if place == "data" {
                fs::create_dir_all(root.join(place))?;
                fs::set_permissions(root.join(place), fs::Permissions::from_mode(0o700))?;
            } else {
                fs::write(root.join(place), "")?;
            }
            chown(root.join(place), Some(USER), Some(USER))?;
        }
        let path = format!("ENV PATH={}:/usr/bin:/bin", directory.display());
        let user = format!("USER {USER}");
        let common = ["--change", &path, "--change", &user];
        self.import(
            &root,
            "postgres:16",
            &[&common[..], &["--change", "EXPOSE 5432", "--change", "CMD [\"/postgres.sh\"]"]]
                .concat(),
        )?;
        let redis = "CMD [\"redis-server\", \"--bind\", \"0.0.0.0\", \"--protected-mode\", \"no\", \"--save\", \"\", \"--dir\", \"/data\"]";
        self.import(
            &root,
            "redis:7",
            &[&common[..], &["--change", "EXPOSE 6379", "--change", redis]].concat(),
        )
    }

    /// Copies a program with its libraries, or a directory with those of its libraries, to the same place of the image.
    fn copy(&self, path: &Path, root: &Path) -> Result<()> {
        let mut files = BTreeSet::from([path.to_owned()]);
        let mut loaded = vec![path.to_owned()];
        if path.is_dir() && path.ends_with("lib") {
            // Only those that a database loads: the others need languages and compilers.
            let names = ["dict_snowball.so", "plpgsql.so", "libpqwalreceiver.so"];
            loaded = names.map(|name| path.join(name)).into();
        }
        for file in loaded.iter().filter(|file| file.is_file()) {
            files.extend(libraries(&self.run_program(Command::new("ldd").arg(file))?));
        }
        let mut command = Command::new("cp");
        command.args(["-rL", "--parents"]).args(&files).arg(root);
        self.run_program(&mut command).map(drop)
    }

    fn run_program(&self, command: &mut Command) -> Result<String> {
        let mut owned = Command::new(command.get_program());
        owned.args(command.get_args());
        self.env.spawn("image", owned)?.wait(crate::wait::TIMEOUT)?.text()
    }
}

/// The paths in the output of ldd(1).
fn libraries(text: &str) -> Vec<PathBuf> {
    let words = text.split_whitespace();
    words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
