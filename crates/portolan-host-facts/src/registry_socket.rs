//! The Unix socket of a registry on this host: in the runtime directory, which only this user and root can write to, so that
//! nobody else can take the place of the registry.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket, which is removed when it is dropped.
#[derive(Debug)]
pub struct RegistrySocket {
    path: PathBuf,
}

// === impl RegistrySocket ===

impl RegistrySocket {
    /// Listens beside the registry's TCP address. A socket that an earlier registry has left there is removed: only one registry
    /// can have bound the address.
    ///
    /// # Errors
    /// The system's error, such as for a path that is too long for a socket.
    pub fn bind(runtime: &Path, address: SocketAddr) -> io::Result<(Self, UnixListener)> {
        let path = path(runtime, address)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let socket = Self { path };
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))?;
        Ok((socket, listener))
    }
}

impl Drop for RegistrySocket {
    fn drop(&mut self) {
        // A socket that stays refuses connections, and its clients use TCP.
        _ = fs::remove_file(&self.path);
    }
}

/// Returns the socket of the registry that listens on this port at the first of these addresses that has one, if it belongs to this user or
/// to root. Another address of this host may have another registry at the same port.
pub fn find(runtime: &Path, addresses: &[IpAddr], port: u16) -> Option<PathBuf> {
    addresses.iter().find_map(|address| find_at(runtime, SocketAddr::new(*address, port)))
}

fn find_at(runtime: &Path, address: SocketAddr) -> Option<PathBuf> {
    let path = path(runtime, address).ok()?;
    let file = fs::symlink_metadata(&path).ok()?;
    let is_own = |uid: u32| uid == 0 || uid == rustix::process::geteuid().as_raw();
    if !file.file_type().is_socket() || !is_own(file.uid()) {
        return None;
    }
    let stream = UnixStream::connect(&path).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    is_own(peer.uid.as_raw()).then_some(path)
}

/// Ports belong to a network namespace, and several namespaces can share the directory.
fn path(runtime: &Path, address: SocketAddr) -> io::Result<PathBuf> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok(runtime.join(format!("registry-{namespace}-{address}.sock")))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const HERE: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

    fn at(port: u16) -> SocketAddr {
        SocketAddr::new(HERE[0], port)
    }

    #[test]
    fn socket_is_found_while_a_registry_listens() {
        let runtime = tempfile::tempdir().unwrap();
        assert_eq!(find(runtime.path(), &HERE, 7000), None);
        let (socket, listener) = RegistrySocket::bind(runtime.path(), at(7000)).unwrap();
        let path = find(runtime.path(), &HERE, 7000).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(find(runtime.path(), &HERE, 7001), None);
        let other = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(find(runtime.path(), &[other], 7000), None, "another registry may listen there");
        assert_eq!(find(runtime.path(), &[other, HERE[0]], 7000), Some(path.clone()));
        drop(listener);
        assert_eq!(find(runtime.path(), &HERE, 7000), None, "nobody listens");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn socket_that_was_left_behind_is_replaced_and_other_files_are_none() {
        let runtime = tempfile::tempdir().unwrap();
        let (left, _) = RegistrySocket::bind(runtime.path(), at(7000)).unwrap();
        std::mem::forget(left);
        let (_socket, _listener) = RegistrySocket::bind(runtime.path(), at(7000)).unwrap();
        assert!(find(runtime.path(), &HERE, 7000).is_some());
        fs::write(path(runtime.path(), at(7001)).unwrap(), "").unwrap();
        assert_eq!(find(runtime.path(), &HERE, 7001), None);
    }
}
