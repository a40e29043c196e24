//! Files over gRPC: every operation, and what POSIX says when it cannot be.
#![allow(missing_docs)]

use std::sync::Arc;

use anyhow::{Context, ensure};
use protocol::hostd::v1::{
    FileOperationRequest, ListDirRequest, ReadFileRequest, WriteFileRequest,
};
use protocol::types::v1::file_operation::{
    Copy, MakeDir, MakeTemp, Operation, Remove, Rename, SetMode, SetOwner, Stat, Symlink, Truncate,
};
use protocol::types::v1::write_input::Input;
use protocol::types::v1::{
    FileInfo, FileOperation, FileType, ListDir, ReadFile, WriteFile, WriteInput, WriteMode,
    WriteResult,
};
use tests::refusal::{code_of, errno};
use tests::{Host, Result, Sandbox, suite};
use tonic::{Code, Status};

suite!(
    write_and_read,
    large_files_are_exact,
    parts_of_files,
    write_modes,
    an_unfinished_write_leaves_the_old_file,
    stat_says_what_is_there,
    lists_of_many_and_deep,
    directories,
    rename_copy_remove,
    modes_and_owners,
    links,
    truncate_and_temporary,
    errors_are_typed,
    names_that_are_not_text,
    bad_requests,
);

/// The files of one sandbox.
struct Files {
    host: Arc<Host>,
    sandbox: Sandbox,
}

impl Files {
    async fn new(host: Arc<Host>) -> Result<Self> {
        let sandbox = host.create().await?;
        Ok(Self { host, sandbox })
    }

    async fn operate(&self, operation: Operation) -> Result<FileInfo, Status> {
        let request = FileOperationRequest {
            sandbox_id: self.sandbox.id().to_owned(),
            operation: Some(FileOperation {
                operation: Some(operation),
            }),
        };
        let answer = self
            .host
            .clients()
            .files()
            .r#do(request)
            .await?
            .into_inner();
        answer.info.ok_or_else(|| Status::internal("no info"))
    }

    async fn stat(&self, path: &str) -> Result<FileInfo, Status> {
        self.operate(Operation::Stat(Stat {
            path: path.to_owned(),
            no_follow: false,
        }))
        .await
    }

    async fn write_with(
        &self,
        open: WriteFile,
        chunks: Vec<Vec<u8>>,
    ) -> Result<WriteResult, Status> {
        let id = self.sandbox.id().to_owned();
        let data = chunks.into_iter().map(|chunk| Input::Data(chunk.into()));
        let inputs = std::iter::once(Input::Open(open)).chain(data);
        let requests: Vec<_> = inputs
            .map(|input| WriteFileRequest {
                sandbox_id: id.clone(),
                input: Some(WriteInput { input: Some(input) }),
            })
            .collect();
        let stream = tokio_stream::iter(requests);
        Ok(self
            .host
            .clients()
            .files()
            .write(stream)
            .await?
            .into_inner())
    }

    async fn write(&self, path: &str, data: &[u8]) -> Result<WriteResult, Status> {
        let open = WriteFile {
            path: path.to_owned(),
            ..Default::default()
        };
        self.write_with(open, vec![data.to_vec()]).await
    }

    async fn read_with(&self, read: ReadFile) -> Result<Vec<u8>, Status> {
        let request = ReadFileRequest {
            sandbox_id: self.sandbox.id().to_owned(),
            read: Some(read),
        };
        let mut chunks = self
            .host
            .clients()
            .files()
            .read(request)
            .await?
            .into_inner();
        let mut data = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            data.extend_from_slice(&chunk.data);
        }
        Ok(data)
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, Status> {
        self.read_with(ReadFile {
            path: path.to_owned(),
            ..Default::default()
        })
        .await
    }

    async fn list(&self, path: &str, depth: u32) -> Result<Vec<FileInfo>, Status> {
        let request = ListDirRequest {
            sandbox_id: self.sandbox.id().to_owned(),
            list: Some(ListDir {
                path: path.to_owned(),
                depth,
            }),
        };
        let mut stream = self
            .host
            .clients()
            .files()
            .list(request)
            .await?
            .into_inner();
        let mut entries = Vec::new();
        while let Some(some) = stream.message().await? {
            entries.extend(some.entries);
        }
        Ok(entries)
    }
}

async fn write_and_read(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    let written = files.write("/root/a", b"hello\0world").await?;
    ensure!(written.bytes_written == 11);
    ensure!(files.read("/root/a").await? == b"hello\0world");
    ensure!(files.sandbox.says("tr '\\0' ' ' < /root/a").await? == "hello world");
    files.write("/root/empty", b"").await?;
    ensure!(files.read("/root/empty").await?.is_empty());
    Ok(())
}

async fn large_files_are_exact(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    let chunks: Vec<Vec<u8>> = (0..48_u8).map(|n| vec![n; 300_000]).collect();
    let open = WriteFile {
        path: "/root/large".to_owned(),
        ..Default::default()
    };
    let written = files.write_with(open, chunks.clone()).await?;
    ensure!(written.bytes_written == 48 * 300_000);
    ensure!(files.read("/root/large").await? == chunks.concat());
    Ok(())
}

async fn parts_of_files(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"0123456789").await?;
    for (offset, length, expected) in [
        (0, Some(3), "012"),
        (7, None, "789"),
        (8, Some(100), "89"),
        (10, None, ""),
        (1 << 40, Some(1), ""),
        (2, Some(0), ""),
    ] {
        let read = ReadFile {
            path: "/root/a".to_owned(),
            offset,
            length,
        };
        let data = files.read_with(read).await?;
        ensure!(data == expected.as_bytes(), "{offset} {length:?}: {data:?}");
    }
    Ok(())
}

async fn write_modes(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    let open = |write_mode: WriteMode, offset| WriteFile {
        path: "/root/a".to_owned(),
        write_mode: write_mode.into(),
        offset,
        ..Default::default()
    };
    let chunk = |text: &str| vec![text.as_bytes().to_vec()];
    files
        .write_with(open(WriteMode::CreateNew, 0), chunk("one"))
        .await?;
    errno(
        files
            .write_with(open(WriteMode::CreateNew, 0), chunk("x"))
            .await,
        "EEXIST",
    )?;
    files
        .write_with(open(WriteMode::Append, 0), chunk(" two"))
        .await?;
    files
        .write_with(open(WriteMode::At, 1), chunk("NE"))
        .await?;
    ensure!(files.read("/root/a").await? == b"oNE two");
    files
        .write_with(open(WriteMode::Replace, 0), chunk("new"))
        .await?;
    ensure!(files.read("/root/a").await? == b"new");

    let deep = |make_parents| WriteFile {
        path: "/root/x/y/z".to_owned(),
        make_parents,
        mode: Some(0o600),
        ..Default::default()
    };
    errno(files.write_with(deep(false), chunk("deep")).await, "ENOENT")?;
    files.write_with(deep(true), chunk("deep")).await?;
    ensure!(files.stat("/root/x/y/z").await?.mode == 0o600);
    Ok(())
}

async fn an_unfinished_write_leaves_the_old_file(host: Arc<Host>) -> Result {
    let files = Files::new(host.clone()).await?;
    files.write("/root/a", b"old").await?;
    let open = WriteFile {
        path: "/root/a".to_owned(),
        ..Default::default()
    };
    let message = |input| WriteFileRequest {
        sandbox_id: files.sandbox.id().to_owned(),
        input: Some(WriteInput { input: Some(input) }),
    };
    let some = [
        message(Input::Open(open)),
        message(Input::Data(vec![1; 1000].into())),
    ];
    // The client's connection ends in the middle of its request.
    let stream = tokio_stream::StreamExt::chain(tokio_stream::iter(some), tokio_stream::pending());
    let clients = host.connect().await?;
    let call = async move { clients.files().write(stream).await };
    let unfinished = tokio::time::timeout(std::time::Duration::from_secs(2), call).await;
    ensure!(
        unfinished.is_err(),
        "answered before the end: {unfinished:?}"
    );
    ensure!(files.read("/root/a").await? == b"old");
    let gone = tests::measure::eventually(std::time::Duration::from_secs(10), async || {
        files.list("/root", 1).await.is_ok_and(|all| {
            let temporary = all.iter().filter(|entry| entry.size == 1000);
            temporary.count() == 0
        })
    });
    ensure!(
        gone.await,
        "the half file is left behind: {:?}",
        files.list("/root", 1).await
    );
    Ok(())
}

async fn stat_says_what_is_there(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"12345").await?;
    files
        .sandbox
        .says("mkfifo /root/p; ln /root/a /root/b; touch -d @1000000000 /root/a")
        .await?;
    let info = files.stat("/root/a").await?;
    ensure!(
        info.path == "/root/a" && info.r#type() == FileType::Regular,
        "{info:?}"
    );
    ensure!(
        info.size == 5 && info.mode == 0o644 && info.links == 2,
        "{info:?}"
    );
    ensure!(
        info.modified_at
            .is_some_and(|time| time.seconds == 1_000_000_000),
        "{info:?}"
    );
    ensure!(info.inode == files.stat("/root/b").await?.inode);
    for (path, expected) in [
        ("/root", FileType::Directory),
        ("/root/p", FileType::Fifo),
        ("/dev/null", FileType::CharDevice),
        ("/dev/vda", FileType::BlockDevice),
    ] {
        ensure!(files.stat(path).await?.r#type() == expected, "{path}");
    }
    Ok(())
}

async fn lists_of_many_and_deep(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.sandbox.says("mkdir -p /root/d/e/f && cd /root/d && seq 1 1500 | xargs touch && touch e/f/deep && ln -s / e/root").await?;
    // More than one message's worth.
    ensure!(files.list("/root/d", 0).await?.len() == 1501);
    ensure!(files.list("/root/d", 1).await?.len() == 1501);
    let deep = files.list("/root/d", 3).await?;
    ensure!(deep.len() == 1501 + 2 + 1, "{}", deep.len());
    ensure!(deep.iter().any(|entry| entry.path == "/root/d/e/f/deep"));
    Ok(())
}

async fn directories(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    let make = |path: &str, recursive, mode| {
        Operation::MakeDir(MakeDir {
            path: path.to_owned(),
            recursive,
            mode,
        })
    };
    let made = files.operate(make("/root/d", false, Some(0o750))).await?;
    ensure!(
        made.mode == 0o750 && made.r#type() == FileType::Directory,
        "{made:?}"
    );
    errno(files.operate(make("/root/d", false, None)).await, "EEXIST")?;
    files.operate(make("/root/d", true, None)).await?;
    errno(
        files.operate(make("/root/x/y", false, None)).await,
        "ENOENT",
    )?;
    files.operate(make("/root/x/y", true, None)).await?;
    ensure!(files.stat("/root/x/y").await?.mode == 0o755);
    Ok(())
}

async fn rename_copy_remove(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"content").await?;
    let (from, to) = ("/root/a".to_owned(), "/root/b".to_owned());
    files
        .operate(Operation::Rename(Rename {
            from: from.clone(),
            to: to.clone(),
        }))
        .await?;
    errno(files.stat("/root/a").await, "ENOENT")?;
    files
        .operate(Operation::Copy(Copy { from: to, to: from }))
        .await?;
    ensure!(files.read("/root/a").await? == b"content");
    ensure!(files.read("/root/b").await? == b"content");

    let remove = |path: &str, recursive| {
        Operation::Remove(Remove {
            path: path.to_owned(),
            recursive,
        })
    };
    files.operate(remove("/root/a", false)).await?;
    files
        .sandbox
        .says("mkdir -p /root/d/e && touch /root/d/e/f")
        .await?;
    errno(files.operate(remove("/root/d", false)).await, "ENOTEMPTY")?;
    files.operate(remove("/root/d", true)).await?;
    errno(files.operate(remove("/root/d", true)).await, "ENOENT")
}

async fn modes_and_owners(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"").await?;
    let path = "/root/a".to_owned();
    let set = SetMode {
        path: path.clone(),
        mode: 0o4711,
    };
    ensure!(files.operate(Operation::SetMode(set)).await?.mode == 0o4711);
    let owner = SetOwner {
        path,
        uid: Some(1234),
        gid: None,
        no_follow: false,
    };
    let info = files.operate(Operation::SetOwner(owner)).await?;
    ensure!((info.uid, info.gid) == (1234, 0), "{info:?}");
    let open = WriteFile {
        path: "/tmp/theirs".to_owned(),
        user: "nobody".to_owned(),
        ..Default::default()
    };
    files.write_with(open, vec![]).await?;
    ensure!(files.sandbox.says("stat -c %U /tmp/theirs").await? == "nobody");
    Ok(())
}

async fn links(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"behind").await?;
    let link = Symlink {
        target: "a".to_owned(),
        path: "/root/link".to_owned(),
    };
    files.operate(Operation::Symlink(link)).await?;
    ensure!(files.read("/root/link").await? == b"behind");
    ensure!(files.stat("/root/link").await?.r#type() == FileType::Regular);
    let own = Stat {
        path: "/root/link".to_owned(),
        no_follow: true,
    };
    let own = files.operate(Operation::Stat(own)).await?;
    ensure!(
        own.r#type() == FileType::Symlink && own.symlink_target == "a",
        "{own:?}"
    );
    files.sandbox.says("ln -s /root/loop /root/loop").await?;
    errno(files.read("/root/loop").await, "ELOOP")
}

async fn truncate_and_temporary(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"0123456789").await?;
    for (size, expected) in [(4, b"0123".to_vec()), (6, b"0123\0\0".to_vec())] {
        let truncate = Truncate {
            path: "/root/a".to_owned(),
            size,
        };
        ensure!(files.operate(Operation::Truncate(truncate)).await?.size == size);
        ensure!(files.read("/root/a").await? == expected);
    }
    let make = |is_directory| {
        let (prefix, suffix) = ("pre-".to_owned(), ".suf".to_owned());
        Operation::MakeTemp(MakeTemp {
            directory: String::new(),
            prefix,
            suffix,
            is_directory,
        })
    };
    let one = files.operate(make(false)).await?;
    let two = files.operate(make(false)).await?;
    ensure!(
        one.path != two.path && one.path.starts_with("/tmp/pre-"),
        "{one:?}"
    );
    ensure!(one.path.ends_with(".suf") && one.mode == 0o600, "{one:?}");
    ensure!(files.operate(make(true)).await?.r#type() == FileType::Directory);
    Ok(())
}

async fn errors_are_typed(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files.write("/root/a", b"").await?;
    errno(files.read("/root/none").await, "ENOENT")?;
    errno(files.read("/root/a/b").await, "ENOTDIR")?;
    errno(files.read("/root").await, "EISDIR")?;
    errno(files.list("/root/a", 1).await, "ENOTDIR")?;
    errno(files.write("/root", b"").await, "EISDIR")?;
    errno(files.write("/proc/none/file", b"").await, "ENOENT")?;
    let long = format!("/root/{}", "x".repeat(256));
    errno(files.stat(&long).await, "ENAMETOOLONG")?;
    let same = Rename {
        from: "/root/a".to_owned(),
        to: "/dev/shm/a".to_owned(),
    };
    errno(files.operate(Operation::Rename(same)).await, "EXDEV")?;
    let status = code_of(files.read("/root/none").await, Code::NotFound)?;
    let info = tonic_types::StatusExt::get_details_error_info(&status).context("no info")?;
    ensure!(
        info.metadata
            .get("path")
            .is_some_and(|path| path == "/root/none"),
        "{info:?}"
    );
    ensure!(
        info.metadata.get("errno").is_some_and(|errno| errno == "2"),
        "{info:?}"
    );
    Ok(())
}

async fn names_that_are_not_text(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    files
        .sandbox
        .says("mkdir /root/d && touch \"$(printf '/root/d/\\377')\"")
        .await?;
    let entries = files.list("/root/d", 1).await?;
    let entry = entries.first().context("nothing listed")?;
    ensure!(*entry.raw_path == *b"/root/d/\xff", "{entry:?}");
    ensure!(entry.path == "/root/d/\u{fffd}", "{entry:?}");
    Ok(())
}

async fn bad_requests(host: Arc<Host>) -> Result {
    let files = Files::new(host).await?;
    code_of(files.read("").await, Code::InvalidArgument)?;
    code_of(files.read("relative").await, Code::InvalidArgument)?;
    code_of(files.read("/root/\0").await, Code::InvalidArgument)?;
    let set = SetMode {
        path: "/root".to_owned(),
        mode: 0o200_000,
    };
    code_of(
        files.operate(Operation::SetMode(set)).await,
        Code::InvalidArgument,
    )?;
    let nothing = tokio_stream::iter(Vec::<WriteFileRequest>::new());
    code_of(
        files.host.clients().files().write(nothing).await,
        Code::InvalidArgument,
    )
    .map(drop)
}
