//! Every way in which a file operation fails has its code, errno and operation.

use std::os::unix::fs::symlink;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use protocol::types::v1::file_operation::{
    Copy, MakeDir, MakeTemp, Operation, Remove, Rename, SetMode, SetOwner, Stat, Symlink, Truncate,
};
use protocol::types::v1::{ReadFile, WriteFile, WriteMode};
use tonic::Code;

use crate::files::open;
use crate::harness::{Guest, assert_posix, within};

/// A directory with one of everything.
async fn guest() -> Guest {
    let guest = Guest::running().await;
    let at = |name: &str| guest.dir.path().join(name);
    std::fs::write(at("file"), "x").unwrap();
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::write(at("dir/inner"), "x").unwrap();
    symlink("loop", at("loop")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    guest
}

#[tokio::test]
async fn operations() {
    let mut guest = guest().await;
    let (missing, file, dir) = (guest.path("missing"), guest.path("file"), guest.path("dir"));
    let (looping, under_file) = (guest.path("loop"), guest.path("file/x"));
    let long = guest.path(&"n".repeat(300));
    let cases = [
        (stat(&missing), Code::NotFound, Errno::ENOENT, "stat"),
        (
            stat(&under_file),
            Code::FailedPrecondition,
            Errno::ENOTDIR,
            "stat",
        ),
        (
            stat(&looping),
            Code::FailedPrecondition,
            Errno::ELOOP,
            "stat",
        ),
        (
            stat(&long),
            Code::InvalidArgument,
            Errno::ENAMETOOLONG,
            "stat",
        ),
        (make_dir(&dir), Code::AlreadyExists, Errno::EEXIST, "mkdir"),
        (
            make_dir(&format!("{missing}/x")),
            Code::NotFound,
            Errno::ENOENT,
            "mkdir",
        ),
        (
            make_dir(&under_file),
            Code::FailedPrecondition,
            Errno::ENOTDIR,
            "mkdir",
        ),
        (
            remove(&missing, false),
            Code::NotFound,
            Errno::ENOENT,
            "stat",
        ),
        (
            remove(&dir, false),
            Code::FailedPrecondition,
            Errno::ENOTEMPTY,
            "rmdir",
        ),
        (
            remove("/", true),
            Code::FailedPrecondition,
            Errno::EBUSY,
            "rmdir",
        ),
        (
            remove("/tmp/..", true),
            Code::FailedPrecondition,
            Errno::EBUSY,
            "rmdir",
        ),
        (
            rename(&missing, &file),
            Code::NotFound,
            Errno::ENOENT,
            "rename",
        ),
        (
            rename(&file, &dir),
            Code::FailedPrecondition,
            Errno::EISDIR,
            "rename",
        ),
        (
            rename(&dir, &format!("{dir}/x")),
            Code::InvalidArgument,
            Errno::EINVAL,
            "rename",
        ),
        (
            rename(&file, "/proc/x"),
            Code::FailedPrecondition,
            Errno::EXDEV,
            "rename",
        ),
        (copy(&missing, &file), Code::NotFound, Errno::ENOENT, "open"),
        (
            copy(&dir, &missing),
            Code::FailedPrecondition,
            Errno::EISDIR,
            "open",
        ),
        (
            copy(&file, &dir),
            Code::FailedPrecondition,
            Errno::EISDIR,
            "open",
        ),
        (
            copy(&guest.path("fifo"), &missing),
            Code::InvalidArgument,
            Errno::EINVAL,
            "open",
        ),
        (set_mode(&missing), Code::NotFound, Errno::ENOENT, "chmod"),
        (set_owner(&missing), Code::NotFound, Errno::ENOENT, "chown"),
        (
            symlink_at(&file),
            Code::AlreadyExists,
            Errno::EEXIST,
            "symlink",
        ),
        (truncate(&missing), Code::NotFound, Errno::ENOENT, "open"),
        (
            truncate(&dir),
            Code::FailedPrecondition,
            Errno::EISDIR,
            "open",
        ),
        (
            truncate(&guest.path("fifo")),
            Code::InvalidArgument,
            Errno::EINVAL,
            "open",
        ),
        (make_temp(&missing), Code::NotFound, Errno::ENOENT, "mktemp"),
    ];
    for (operation, code, errno, name) in cases {
        let error = within(guest.perform(operation.clone()))
            .await
            .expect_err(&format!("{operation:?}"));
        assert_posix(&error, code, errno, name);
    }
    assert_eq!(guest.names(), ["dir", "fifo", "file", "loop", "socket"]);
}

#[tokio::test]
async fn reading() {
    let mut guest = guest().await;
    let cases = [
        ("missing", Code::NotFound, Errno::ENOENT),
        ("dir", Code::FailedPrecondition, Errno::EISDIR),
        ("fifo", Code::InvalidArgument, Errno::EINVAL),
        ("socket", Code::InvalidArgument, Errno::EINVAL),
        ("loop", Code::FailedPrecondition, Errno::ELOOP),
        ("file/x", Code::FailedPrecondition, Errno::ENOTDIR),
        (
            "../../../../../../dev/zero",
            Code::InvalidArgument,
            Errno::EINVAL,
        ),
    ];
    for (name, code, errno) in cases {
        let request = ReadFile {
            path: guest.path(name),
            ..Default::default()
        };
        let error = within(guest.read(request)).await.expect_err(name);
        assert_posix(&error, code, errno, "open");
    }
    let error = guest.list(&guest.path("file"), 1).await.unwrap_err();
    assert_posix(&error, Code::FailedPrecondition, Errno::ENOTDIR, "opendir");
    let error = guest.list(&guest.path("dir"), 1000).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn writing() {
    let mut guest = guest().await;
    use WriteMode::{Append, At, CreateNew, Replace};
    let cases = [
        ("missing/x", Replace, Code::NotFound, Errno::ENOENT),
        ("file/x", Replace, Code::FailedPrecondition, Errno::ENOTDIR),
        ("dir", Replace, Code::FailedPrecondition, Errno::EISDIR),
        ("new/", Replace, Code::FailedPrecondition, Errno::EISDIR),
        ("fifo", Replace, Code::InvalidArgument, Errno::EINVAL),
        ("file", CreateNew, Code::AlreadyExists, Errno::EEXIST),
        ("loop", CreateNew, Code::AlreadyExists, Errno::EEXIST),
        ("dir", Append, Code::FailedPrecondition, Errno::EISDIR),
        ("fifo", Append, Code::InvalidArgument, Errno::EINVAL),
        ("socket", At, Code::InvalidArgument, Errno::EINVAL),
        ("missing/x", At, Code::NotFound, Errno::ENOENT),
        ("loop", Append, Code::FailedPrecondition, Errno::ELOOP),
    ];
    for (name, mode, code, errno) in cases {
        let error = within(guest.write(open(&guest.path(name), mode), &[b"x"]))
            .await
            .expect_err(name);
        assert_posix(&error, code, errno, "open");
    }
    let parents = WriteFile {
        make_parents: true,
        ..open(&guest.path("file/x/y"), Replace)
    };
    let error = guest.write(parents, &[]).await.unwrap_err();
    assert_posix(&error, Code::FailedPrecondition, Errno::ENOTDIR, "mkdir");
    assert_eq!(guest.names(), ["dir", "fifo", "file", "loop", "socket"]);
}

#[tokio::test]
async fn requests_that_can_never_work() {
    let mut guest = guest().await;
    let bad = [
        stat("relative"),
        stat(""),
        stat("/a\0b"),
        Operation::SetMode(SetMode {
            path: "/tmp".into(),
            mode: 0o10000,
        }),
        Operation::MakeDir(MakeDir {
            path: "/tmp/x".into(),
            recursive: false,
            mode: Some(u32::MAX),
        }),
        Operation::SetOwner(SetOwner {
            path: "/tmp".into(),
            uid: Some(u32::MAX),
            gid: None,
            no_follow: false,
        }),
        Operation::Truncate(Truncate {
            path: guest.path("file"),
            size: u64::MAX,
        }),
        Operation::MakeTemp(MakeTemp {
            prefix: "../".into(),
            ..Default::default()
        }),
        Operation::MakeTemp(MakeTemp {
            suffix: "x".repeat(300),
            ..Default::default()
        }),
    ];
    for operation in bad {
        let error = guest
            .perform(operation.clone())
            .await
            .expect_err(&format!("{operation:?}"));
        assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    }
    let file = guest.path("file");
    let unknown_user = WriteFile {
        user: "no-such-user".into(),
        ..open(&file, WriteMode::Replace)
    };
    let offset = WriteFile {
        offset: 1,
        ..open(&file, WriteMode::Replace)
    };
    let mode = WriteFile {
        mode: Some(0o77777),
        ..open(&file, WriteMode::Replace)
    };
    let unknown_mode = WriteFile {
        write_mode: 99,
        ..open(&file, WriteMode::Replace)
    };
    for request in [unknown_user, offset, mode, unknown_mode] {
        assert_eq!(
            guest.write(request, &[]).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let operation = protocol::types::v1::FileOperation { operation: None };
    assert_eq!(
        guest.files.r#do(operation).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

fn stat(path: &str) -> Operation {
    Operation::Stat(Stat {
        path: path.to_owned(),
        no_follow: false,
    })
}
fn make_dir(path: &str) -> Operation {
    Operation::MakeDir(MakeDir {
        path: path.to_owned(),
        recursive: false,
        mode: None,
    })
}
fn remove(path: &str, recursive: bool) -> Operation {
    Operation::Remove(Remove {
        path: path.to_owned(),
        recursive,
    })
}
fn rename(from: &str, to: &str) -> Operation {
    Operation::Rename(Rename {
        from: from.to_owned(),
        to: to.to_owned(),
    })
}
fn copy(from: &str, to: &str) -> Operation {
    Operation::Copy(Copy {
        from: from.to_owned(),
        to: to.to_owned(),
    })
}
fn set_mode(path: &str) -> Operation {
    Operation::SetMode(SetMode {
        path: path.to_owned(),
        mode: 0o644,
    })
}
fn set_owner(path: &str) -> Operation {
    Operation::SetOwner(SetOwner {
        path: path.to_owned(),
        uid: Some(0),
        gid: None,
        no_follow: false,
    })
}
fn symlink_at(path: &str) -> Operation {
    Operation::Symlink(Symlink {
        target: "x".to_owned(),
        path: path.to_owned(),
    })
}
fn truncate(path: &str) -> Operation {
    Operation::Truncate(Truncate {
        path: path.to_owned(),
        size: 0,
    })
}
fn make_temp(directory: &str) -> Operation {
    Operation::MakeTemp(MakeTemp {
        directory: directory.to_owned(),
        ..Default::default()
    })
}
