//! The server's life: it ends with its owner, however that ends, and keeps what it was given to keep.

mod owner;

use std::path::Path;
use std::process::Command;

use owner::{Owner, alive, eventually, server_pid};
use tickpanda_database::{DatabaseError, Server, ServerConfig};

fn kill_9(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -9 {pid}");
}

#[test]
fn a_killed_owner_takes_its_server_and_the_temporary_folder_along() {
    let owner = Owner::start(None);
    let cluster = owner.socket_folder();
    let pid = server_pid(Path::new(&cluster));
    assert!(alive(pid));
    owner.kill();
    eventually("the server ends", || !alive(pid));
    let folder = Path::new(&cluster).parent().expect("a folder above");
    eventually("the temporary folder is removed", || !folder.exists());
}

#[tokio::test]
async fn a_restart_right_after_kill_9_keeps_the_data() {
    let folder = tempfile::tempdir().unwrap(); // mode 0700, as mktemp -d makes it
    let data = folder.path().join("database");
    let first = Owner::start(Some(&data));
    first.execute("create table kept as select generate_series(1, 1000) as n").await;
    first.kill();
    // At once: the old server is still ending, and the new one has to wait for it.
    let second = Owner::start(Some(&data));
    assert_eq!(second.count("kept").await, 1000);
    drop(second);
    eventually_free(&data).await;
}

#[tokio::test]
async fn a_crash_of_everything_is_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("database");
    let first = Owner::start(Some(&data));
    first.execute("create table kept as select generate_series(1, 1000) as n").await;
    kill_9(server_pid(&data.join("cluster")));
    first.kill();
    // What a crash of the machine leaves: the number belongs to somebody else meanwhile.
    let pid_file = data.join("cluster/postmaster.pid");
    let left = std::fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = left.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();

    let second = Owner::start(Some(&data));
    assert_eq!(second.count("kept").await, 1000);
    drop(second);
    eventually_free(&data).await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_another_child_does_not_keep_a_server_alive() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        data_dir: Some(folder.path().join("database")),
        durable: false,
        ..Default::default()
    };
    let server = Server::start(config.clone()).await.unwrap();
    let again = Server::start(config).await.unwrap_err();
    assert!(matches!(&again, DatabaseError::InUse { .. }) && again.is_transient(), "{again}");

    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    let stopped = server.stop().await;
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    stopped.expect("it ends although a later child of ours lives");
    assert!(server_gone(&folder.path().join("database/cluster")));
}

#[tokio::test]
async fn data_of_another_major_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = folder.path().join("cluster");
    std::fs::create_dir(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let config = ServerConfig { data_dir: Some(folder.path().to_owned()), ..Default::default() };
    let error = Server::start(config).await.unwrap_err().to_string();
    assert!(error.contains("PostgreSQL 9") && error.contains("TICKPANDA_DATABASE"), "{error}");
}

/// Waits until nobody works on the folder, so that it can be removed.
async fn eventually_free(data: &Path) {
    let lock = std::fs::File::open(data.join("server.lock")).unwrap();
    eventually("the server ends", || lock.try_lock().is_ok());
    assert!(server_gone(&data.join("cluster")));
}

/// A server that has ended in order leaves no `postmaster.pid`.
fn server_gone(cluster: &Path) -> bool {
    !cluster.join("postmaster.pid").exists()
}
