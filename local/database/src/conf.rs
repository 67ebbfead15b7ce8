//! The server's `postgresql.conf`, written anew at each start: pure text from values.

use std::path::Path;

/// What varies between servers.
pub(crate) struct Conf<'a> {
    pub(crate) port: u16,
    pub(crate) socket_folder: &'a Path,
    pub(crate) timescaledb: bool,
    pub(crate) durable: bool,
}

impl Conf<'_> {
    pub(crate) fn text(&self) -> String {
        let Self { port, socket_folder, timescaledb, durable } = self;
        // The setting is a list: quoted, a name may hold spaces and commas.
        let socket_folder =
            socket_folder.to_string_lossy().replace('"', "\"\"").replace('\'', "''");
        let mut text = format!(
            "# Written by tickpanda at each start. Settings of your own go into custom.conf beside it.\n\
             listen_addresses = '127.0.0.1'\n\
             port = {port}\n\
             unix_socket_directories = '\"{socket_folder}\"'\n\
             max_connections = 100\n\
             # For a small machine that has other work too; the log of 2 GB makes checkpoints rare.\n\
             shared_buffers = 256MB\n\
             max_wal_size = 2GB\n\
             wal_compression = on\n\
             checkpoint_timeout = 15min\n\
             max_worker_processes = 32\n\
             # A lock for each chunk and index that a transaction touches: late ticks touch many.\n\
             max_locks_per_transaction = 256\n\
             # Compiling a query takes longer than these queries do.\n\
             jit = off\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %d '\n"
        );
        if *timescaledb {
            text += "shared_preload_libraries = 'timescaledb'\n\
                     timescaledb.telemetry_level = off\n";
        }
        if !*durable {
            text += "# For tests: the data need not survive the machine.\n\
                     fsync = off\n\
                     full_page_writes = off\n\
                     synchronous_commit = off\n";
        }
        text + "include_if_exists = 'custom.conf'\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(socket: &str, durable: bool) -> String {
        Conf { port: 1, socket_folder: Path::new(socket), timescaledb: false, durable }.text()
    }

    #[test]
    fn only_a_server_for_tests_gives_up_durability() {
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            assert!(!conf("/x", true).contains(setting));
            assert!(conf("/x", false).contains(setting));
        }
    }

    #[test]
    fn odd_folder_names_are_quoted() {
        assert!(
            conf("/a b,c\"d'e", true).contains("unix_socket_directories = '\"/a b,c\"\"d''e\"'\n")
        );
    }
}
