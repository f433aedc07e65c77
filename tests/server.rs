//! Black box: the real binary, a free port, a directory of its own, and the independent client `zookeeper-client`.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{OPEN, Server, free_port, scratch};
use zookeeper_client as zk;

#[tokio::test]
async fn znodes_are_created_read_changed_and_deleted() {
    let server = Server::start("crud", "");
    let client = server.client().await;
    let (stat, _) = client.create("/a", b"one", OPEN).await.unwrap();
    assert_eq!(client.get_data("/a").await.unwrap(), (b"one".to_vec(), stat));
    let stat = client.set_data("/a", b"two", Some(0)).await.unwrap();
    assert_eq!(stat.version, 1);
    assert_eq!(client.set_data("/a", b"no", Some(0)).await.unwrap_err(), zk::Error::BadVersion);
    client.create("/a/b", b"", OPEN).await.unwrap();
    assert_eq!(client.delete("/a", None).await.unwrap_err(), zk::Error::NotEmpty);
    assert_eq!(client.count_descendants_number("/a").await.unwrap(), 1);
    client.delete("/a/b", None).await.unwrap();
    client.delete("/a", Some(1)).await.unwrap();
    assert_eq!(client.check_stat("/a").await.unwrap(), None);
    assert_eq!(client.create("/no/parent", b"", OPEN).await.unwrap_err(), zk::Error::NoNode);
    client.sync("/").await.unwrap();
}

#[tokio::test]
async fn sequential_and_ephemeral_znodes_keep_their_promises() {
    let server = Server::start("sequential", "");
    let client = server.client().await;
    client.create("/q", b"", OPEN).await.unwrap();
    let sequential = zk::CreateMode::EphemeralSequential.with_acls(zk::Acls::anyone_all());
    let (_, first) = client.create("/q/n-", b"", &sequential).await.unwrap();
    let (_, second) = client.create("/q/n-", b"", &sequential).await.unwrap();
    assert!(first.into_i64() < second.into_i64());
    assert_eq!(client.list_ephemerals("/q").await.unwrap().len(), 2);
    let other = server.client().await;
    let (_, watcher) = other.list_and_watch_children("/q").await.unwrap();
    drop(client);
    assert_eq!(watcher.changed().await.event_type, zk::EventType::NodeChildrenChanged);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(other.list_children("/q").await.unwrap().is_empty(), "a closed session leaves nothing behind");
}

#[tokio::test]
async fn persistent_and_recursive_watches_see_every_change_in_order() {
    let server = Server::start("watches", "");
    let (client, writer) = (server.client().await, server.client().await);
    let mut tree = client.watch("/", zk::AddWatchMode::PersistentRecursive).await.unwrap();
    let mut node = client.watch("/w", zk::AddWatchMode::Persistent).await.unwrap();
    writer.create("/w", b"", OPEN).await.unwrap();
    writer.create("/w/x", b"", OPEN).await.unwrap();
    writer.set_data("/w/x", b"1", None).await.unwrap();
    writer.delete("/w/x", None).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let event = tree.changed().await;
        seen.push((event.event_type, event.path));
    }
    use zk::EventType::*;
    let path = |text: &str| text.to_owned();
    assert_eq!(
        seen,
        [
            (NodeCreated, path("/w")),
            (NodeCreated, path("/w/x")),
            (NodeDataChanged, path("/w/x")),
            (NodeDeleted, path("/w/x")),
        ]
    );
    for kind in [NodeCreated, NodeChildrenChanged, NodeChildrenChanged] {
        assert_eq!(node.changed().await.event_type, kind);
    }
    drop(node);
    drop(tree);
}

#[tokio::test]
async fn a_multi_happens_whole_or_not_at_all() {
    let server = Server::start("multi", "");
    let client = server.client().await;
    let mut writer = client.new_multi_writer();
    writer.add_create("/m", b"0", OPEN).unwrap();
    writer.add_set_data("/m", b"1", Some(0)).unwrap();
    writer.add_create("/m/c", b"", OPEN).unwrap();
    assert_eq!(writer.commit().await.unwrap().len(), 3);
    writer.add_delete("/m/c", None).unwrap();
    writer.add_check_version("/m", 7).unwrap();
    writer.add_set_data("/m", b"2", None).unwrap();
    assert_eq!(
        writer.commit().await.unwrap_err(),
        zk::MultiWriteError::OperationFailed { index: 1, source: zk::Error::BadVersion }
    );
    assert_eq!(client.get_data("/m").await.unwrap().0, b"1");
    let mut reader = client.new_multi_reader();
    reader.add_get_data("/m").unwrap();
    reader.add_get_children("/m").unwrap();
    assert_eq!(reader.commit().await.unwrap().len(), 2);
}

#[tokio::test]
async fn containers_and_ttl_nodes_are_reaped_when_unused() {
    let server =
        Server::start("reaper", "znode.container.checkIntervalMs=200\nznode.container.maxNeverUsedIntervalMs=100000\n");
    let client = server.client().await;
    let container = zk::CreateMode::Container.with_acls(zk::Acls::anyone_all());
    client.create("/c", b"", &container).await.unwrap();
    client.create("/c/x", b"", OPEN).await.unwrap();
    let ttl = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all()).with_ttl(Duration::from_millis(150));
    client.create("/t", b"", &ttl).await.unwrap();
    let (_, gone) = client.check_and_watch_stat("/t").await.unwrap();
    assert_eq!(gone.changed().await.event_type, zk::EventType::NodeDeleted);
    let (_, gone) = client.check_and_watch_stat("/c").await.unwrap();
    client.delete("/c/x", None).await.unwrap();
    assert_eq!(gone.changed().await.event_type, zk::EventType::NodeDeleted);
}

#[tokio::test]
async fn acls_keep_others_out() {
    let server = Server::start("acl", "");
    let owner = server.connector().with_auth("digest", b"bob:secret").connect(&server.address()).await.unwrap();
    owner.create("/mine", b"x", &zk::CreateMode::Persistent.with_acls(zk::Acls::creator_all())).await.unwrap();
    let other = server.client().await;
    assert_eq!(other.get_data("/mine").await.unwrap_err(), zk::Error::NoAuth);
    assert_eq!(other.set_data("/mine", b"y", None).await.unwrap_err(), zk::Error::NoAuth);
    assert!(owner.list_auth_users().await.unwrap().contains(&zk::AuthUser::new("digest", "bob")));
    other.auth("digest", b"bob:secret").await.unwrap();
    assert_eq!(other.get_data("/mine").await.unwrap().0, b"x");
}

#[tokio::test]
async fn a_session_survives_a_restart_of_the_server() {
    let mut server = Server::start("restart", "");
    let client = server.client().await;
    client.create("/kept", b"v", OPEN).await.unwrap();
    client.create("/alive", b"", &zk::CreateMode::Ephemeral.with_acls(zk::Acls::anyone_all())).await.unwrap();
    server.signal("KILL");
    server.child.wait().unwrap();
    server.launch();
    server.wait_until_listening();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match client.get_data("/kept").await {
            Ok((data, _)) => break assert_eq!(data, b"v"),
            Err(error) => assert!(Instant::now() < deadline, "{error}; server log: {}", server.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.state(), zk::SessionState::SyncConnected);
    assert!(client.check_stat("/alive").await.unwrap().is_some(), "the ephemeral of a live session stays");
}

#[tokio::test]
async fn an_interrupt_stops_the_server_cleanly() {
    let mut server = Server::start("interrupt", "");
    let client = server.client().await;
    client.create("/x", b"", OPEN).await.unwrap();
    server.signal("INT");
    let status = server.wait_for_end(Duration::from_secs(5));
    assert!(status.success(), "{status}: {}", server.log());
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start("lock", "");
    let second = server.directory.join("second.cfg");
    let settings = format!("clientPort={}\ndataDir={}\n", free_port(), server.data.display());
    std::fs::write(&second, settings).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringkeeper")).arg("serve").arg(&second).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "a data directory that cannot be used: {text}");
    let holder = format!(
        "another server (pid {}) is running on the data directory {}",
        server.child.id(),
        server.data.display()
    );
    assert!(text.contains(&holder), "{text}");
}

#[test]
fn a_missing_data_directory_is_not_created_where_that_is_forbidden() {
    let directory = scratch("autocreate");
    let (settings, data) = (directory.join("zoo.cfg"), directory.join("unmounted"));
    let text = format!("clientPort={}\ndataDir={}\ndatadir.autocreate=false\n", free_port(), data.display());
    std::fs::write(&settings, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringkeeper")).arg("serve").arg(&settings).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("unmounted does not exist") && !data.exists(), "{text}");
    std::fs::remove_dir_all(&directory).unwrap();
}
