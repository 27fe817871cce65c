//! The server under the data folder, driven as a library: what `program` sees from outside is not repeated here.

use std::os::unix::fs::PermissionsExt as _;

use plyr_likes::postgres::{Folder, PrivatePostgres, PrivatePostgresError, start};
use sqlx::{Connection as _, PgConnection};

async fn start_in(path: &std::path::Path) -> PrivatePostgres {
    start(Folder::open(path).unwrap().lock(false).unwrap()).await.unwrap()
}

#[tokio::test]
async fn runs_below_a_closed_folder_and_with_a_path_too_long_for_a_socket() {
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = closed.path().join("a".repeat(60)).join("b".repeat(60));
    let server = start_in(&path).await;

    let mut connection = PgConnection::connect_with(&server.connect_options()).await.unwrap();
    let root: bool = sqlx::query_scalar("SELECT usesuper FROM pg_user WHERE usename = current_user")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(root);
    let listening: String = sqlx::query_scalar("SHOW listen_addresses").fetch_one(&mut connection).await.unwrap();
    assert_eq!(listening, "", "a TCP port is open");
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut connection).await.unwrap();
    assert_eq!(encoding, "UTF8");
    let mode = path.join("postgres").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "others may reach the socket");

    let refused = Folder::open(&path).unwrap().lock(false).unwrap_err();
    let PrivatePostgresError::InUse { holder, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*holder, std::process::id().to_string());

    server.stop().await;
    assert!(PgConnection::connect_with(&Folder::open(&path).unwrap().connect_options().unwrap().0).await.is_err());
}

#[tokio::test]
async fn an_unfinished_folder_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("postgres.unfinished")).unwrap();
    std::fs::write(root.path().join("postgres.unfinished/PG_VERSION"), "15\n").unwrap();
    let server = start_in(root.path()).await;
    assert!(!root.path().join("postgres.unfinished").exists());
    server.stop().await;
}
