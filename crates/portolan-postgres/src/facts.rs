//! What a server is asked.

use portolan_database::ServerFacts;

/// Whether it is a standby, whether it accepts writes, and when this run of it began.
const ROLE: &str = "SELECT pg_catalog.pg_is_in_recovery()::text, \
     pg_catalog.current_setting('transaction_read_only'), \
     extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text";
/// The same, and the system identifier, which a cluster gets once, from initdb.
const ROLE_AND_CLUSTER: &str = "SELECT pg_catalog.pg_is_in_recovery()::text, \
     pg_catalog.current_setting('transaction_read_only'), \
     extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text, \
     (SELECT system_identifier::text FROM pg_catalog.pg_control_system())";

/// Returns the query.
pub(crate) fn query(with_cluster: bool) -> &'static str {
    if with_cluster { ROLE_AND_CLUSTER } else { ROLE }
}

/// Reads the answer, in the text form of booleans; `None` if it is not one of PostgreSQL.
pub(crate) fn read(
    in_recovery: Option<&str>,
    read_only: Option<&str>,
    cluster: Option<&str>,
) -> Option<ServerFacts> {
    let is_standby = match in_recovery? {
        "true" | "t" => true,
        "false" | "f" => false,
        _ => return None,
    };
    let is_writable = match read_only? {
        "on" => false,
        "off" => true,
        _ => return None,
    };
    Some(ServerFacts { is_standby, is_writable, cluster: cluster.map(str::to_owned) })
}
