//! The library's own client, on files of the test. OpenSSH's is in the end-to-end tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use russh_sftp::client::SftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

async fn client() -> SftpSession {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(sandbox_sftp::serve_on(theirs));
    SftpSession::new(ours).await.unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn files_are_written_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&directory.path().join(name));
    let sftp = client().await;
    let bytes: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    let mut file = sftp.create(at("large")).await.unwrap();
    file.write_all(&bytes).await.unwrap();
    file.shutdown().await.unwrap();
    assert!(std::fs::read(at("large")).unwrap() == bytes);
    assert!(sftp.read(at("large")).await.unwrap() == bytes);
    let mut file = sftp.open(at("large")).await.unwrap();
    file.seek(std::io::SeekFrom::Start(999_990)).await.unwrap();
    let mut end = Vec::new();
    file.read_to_end(&mut end).await.unwrap();
    assert_eq!(end, bytes[999_990..]);
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    assert!(sftp.open_with_flags(at("large"), flags).await.is_err());
    let flags = OpenFlags::WRITE | OpenFlags::APPEND;
    let mut file = sftp.open_with_flags(at("large"), flags).await.unwrap();
    file.write_all(b"more").await.unwrap();
    file.shutdown().await.unwrap();
    assert_eq!(sftp.metadata(at("large")).await.unwrap().len(), 1_000_004);
}

#[tokio::test]
async fn directories_links_and_names() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&directory.path().join(name));
    let sftp = client().await;
    sftp.create_dir(at("d")).await.unwrap();
    for number in 0..300 {
        std::fs::write(at(&format!("d/{number}")), "").unwrap();
    }
    assert_eq!(sftp.read_dir(at("d")).await.unwrap().count(), 300);
    std::fs::write(at("a"), "1").unwrap();
    std::fs::write(at("b"), "2").unwrap();
    // Version 3 does not rename over what is there.
    assert!(sftp.rename(at("a"), at("b")).await.is_err());
    sftp.rename(at("a"), at("c")).await.unwrap();
    assert_eq!(std::fs::read_to_string(at("c")).unwrap(), "1");
    std::os::unix::fs::symlink("c", at("link")).unwrap();
    assert_eq!(sftp.read_link(at("link")).await.unwrap(), "c");
    assert!(
        sftp.symlink_metadata(at("link"))
            .await
            .unwrap()
            .is_symlink()
    );
    assert!(sftp.metadata(at("link")).await.unwrap().is_regular());
    assert_eq!(sftp.canonicalize(at("link")).await.unwrap(), at("c"));
    assert_eq!(sftp.canonicalize(at("new")).await.unwrap(), at("new"));
    let wanted = FileAttributes {
        size: Some(0),
        permissions: Some(0o640),
        atime: Some(1_000),
        mtime: Some(2_000),
        ..FileAttributes::empty()
    };
    sftp.set_metadata(at("c"), wanted).await.unwrap();
    let changed = std::fs::metadata(at("c")).unwrap();
    assert_eq!(
        (changed.len(), changed.permissions().mode() & 0o7777),
        (0, 0o640)
    );
    assert_eq!(sftp.metadata(at("c")).await.unwrap().mtime, Some(2_000));
    sftp.remove_file(at("link")).await.unwrap();
    assert!(sftp.remove_dir(at("d")).await.is_err());
    let error = sftp.metadata(at("none")).await.unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
}
