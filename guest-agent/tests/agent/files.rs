//! Files: written, read, listed, changed.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use futures::StreamExt;
use protocol::agent::v1::files_client::FilesClient;
use protocol::types::v1::file_operation as op;
use protocol::types::v1::{
    FileInfo, FileOperation, FileType, ListDir, ReadFile, WriteFile, WriteInput, WriteMode,
    write_input::Input,
};
use tonic::Status;

use crate::harness::{Guest, eventually, within};

pub fn open(path: &str, mode: WriteMode) -> WriteFile {
    WriteFile {
        path: path.to_owned(),
        write_mode: mode.into(),
        ..Default::default()
    }
}

impl Guest {
    pub async fn write(&mut self, open: WriteFile, pieces: &[&[u8]]) -> Result<u64, Status> {
        let mut messages = vec![WriteInput {
            input: Some(Input::Open(open)),
        }];
        messages.extend(pieces.iter().map(|piece| WriteInput {
            input: Some(Input::Data(piece.to_vec().into())),
        }));
        let result = self.files.write(futures::stream::iter(messages)).await?;
        Ok(result.into_inner().bytes_written)
    }

    pub async fn read(&mut self, request: ReadFile) -> Result<Vec<u8>, Status> {
        let mut chunks = self.files.read(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(chunk) = within(chunks.message()).await? {
            assert!(!chunk.data.is_empty() && chunk.data.len() <= protocol::MAX_CHUNK_BYTES);
            all.extend_from_slice(&chunk.data);
        }
        Ok(all)
    }

    pub async fn list(&mut self, path: &str, depth: u32) -> Result<Vec<FileInfo>, Status> {
        let request = ListDir {
            path: path.to_owned(),
            depth,
        };
        let mut pages = self.files.list(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(page) = within(pages.message()).await? {
            assert!((1..=512).contains(&page.entries.len()));
            all.extend(page.entries);
        }
        all.sort_by(|one, other| one.raw_path.cmp(&other.raw_path));
        Ok(all)
    }

    pub async fn perform(&mut self, operation: op::Operation) -> Result<FileInfo, Status> {
        let request = FileOperation {
            operation: Some(operation),
        };
        let result = self.files.r#do(request).await?;
        Ok(result.into_inner().info.unwrap())
    }
}

fn whole(path: &str) -> ReadFile {
    ReadFile {
        path: path.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_is_written_is_read() {
    let mut guest = Guest::running().await;
    let path = guest.path("deep/er/file");
    let data: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
    let request = WriteFile {
        make_parents: true,
        mode: Some(0o640),
        user: "65534:100".into(),
        ..open(&path, WriteMode::Unspecified)
    };
    let pieces: Vec<&[u8]> = data.chunks(1 << 20).collect();
    assert_eq!(guest.write(request, &pieces).await.unwrap(), 3_000_000);
    assert_eq!(guest.read(whole(&path)).await.unwrap(), data);
    let part = ReadFile {
        offset: 1_000_000,
        length: Some(500_000),
        ..whole(&path)
    };
    assert_eq!(guest.read(part).await.unwrap(), data[1_000_000..1_500_000]);
    let beyond = ReadFile {
        offset: 4_000_000,
        ..whole(&path)
    };
    assert!(guest.read(beyond).await.unwrap().is_empty());
    assert!(
        guest
            .read(ReadFile {
                length: Some(0),
                ..whole(&path)
            })
            .await
            .unwrap()
            .is_empty()
    );
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (found.mode() & 0o7777, found.uid(), found.gid()),
        (0o640, 65534, 100)
    );
    assert_eq!(
        std::fs::metadata(guest.path("deep/er")).unwrap().uid(),
        65534
    );
    assert!(
        !guest
            .read(whole("/proc/self/status"))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn the_modes_of_writing() {
    let mut guest = Guest::running().await;
    let path = guest.path("file");
    guest
        .write(open(&path, WriteMode::CreateNew), &[b"one"])
        .await
        .unwrap();
    guest
        .write(open(&path, WriteMode::Append), &[b"two"])
        .await
        .unwrap();
    let at = WriteFile {
        offset: 1,
        ..open(&path, WriteMode::At)
    };
    guest.write(at, &[b"N", b"E"]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "oNEtwo");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
    guest
        .write(open(&path, WriteMode::Replace), &[])
        .await
        .unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!((found.len(), found.mode() & 0o7777), (0, 0o4711));
    let sparse = guest.path("sparse");
    let at = WriteFile {
        offset: 1 << 30,
        ..open(&sparse, WriteMode::At)
    };
    guest.write(at, &[b"x"]).await.unwrap();
    assert_eq!(std::fs::metadata(&sparse).unwrap().len(), (1 << 30) + 1);
    assert_eq!(std::fs::metadata(&sparse).unwrap().mode() & 0o777, 0o644);
}

#[tokio::test]
async fn a_link_stays_and_its_target_is_replaced() {
    let mut guest = Guest::running().await;
    let (link, target) = (guest.path("link"), guest.path("target"));
    symlink("target", &link).unwrap();
    for mode in [WriteMode::Replace, WriteMode::Append] {
        guest.write(open(&link, mode), &[b"x"]).await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "xx");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[tokio::test]
async fn a_broken_stream_leaves_the_old_file_and_nothing_else() {
    let guest = Guest::running().await;
    std::fs::write(guest.path("old"), "old").unwrap();
    for (name, mode) in [("old", WriteMode::Replace), ("new", WriteMode::CreateNew)] {
        let (channel, wire) = guest.another_connection().await;
        let mut files = FilesClient::new(channel);
        let first = [
            Input::Open(open(&guest.path(name), mode)),
            Input::Data(vec![1; 100_000].into()),
        ];
        let messages = futures::stream::iter(first.map(|input| WriteInput { input: Some(input) }));
        let writing = tokio::spawn(async move {
            files
                .write(messages.chain(futures::stream::pending()))
                .await
                .map(drop)
        });
        eventually("a temporary file", || guest.names().len() == 2).await;
        drop(wire);
        eventually("it is gone", || guest.names() == ["old"]).await;
        assert_eq!(std::fs::read_to_string(guest.path("old")).unwrap(), "old");
        within(writing).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_bad_message_leaves_nothing_either() {
    let mut guest = Guest::running().await;
    let path = guest.path("new");
    let big = vec![0; protocol::MAX_CHUNK_BYTES + 1];
    guest
        .write(open(&path, WriteMode::Replace), &[b"x", &big])
        .await
        .unwrap_err();
    eventually("it is gone", || guest.names().is_empty()).await;
}

#[tokio::test]
async fn operations_answer_the_file_as_it_is_now() {
    let mut guest = Guest::running().await;
    let root = guest.dir.path().to_owned();
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let (dir, file, copy, moved, link) = (at("d/e"), at("d/f"), at("c"), at("m"), at("l"));
    let make = op::MakeDir {
        path: dir.clone(),
        recursive: true,
        mode: Some(0o1777),
    };
    let info = guest
        .perform(op::Operation::MakeDir(make.clone()))
        .await
        .unwrap();
    assert_eq!(
        (info.r#type(), info.mode, info.path.as_str()),
        (FileType::Directory, 0o1777, dir.as_str())
    );
    guest.perform(op::Operation::MakeDir(make)).await.unwrap();

    std::fs::write(&file, "content").unwrap();
    let mode = op::SetMode {
        path: file.clone(),
        mode: 0o600,
    };
    assert_eq!(
        guest
            .perform(op::Operation::SetMode(mode))
            .await
            .unwrap()
            .mode,
        0o600
    );
    let owner = op::SetOwner {
        path: file.clone(),
        uid: Some(5),
        gid: None,
        no_follow: false,
    };
    let info = guest.perform(op::Operation::SetOwner(owner)).await.unwrap();
    assert_eq!((info.uid, info.gid, info.size), (5, 0, 7));

    let request = op::Copy {
        from: file.clone(),
        to: copy.clone(),
    };
    let info = guest.perform(op::Operation::Copy(request)).await.unwrap();
    assert_eq!((info.uid, info.mode, info.size), (5, 0o600, 7));
    let onto_itself = op::Copy {
        from: copy.clone(),
        to: copy.clone(),
    };
    guest
        .perform(op::Operation::Copy(onto_itself))
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "content");

    let request = op::Rename {
        from: copy.clone(),
        to: moved.clone(),
    };
    assert_eq!(
        guest
            .perform(op::Operation::Rename(request))
            .await
            .unwrap()
            .path,
        moved
    );
    let request = op::Symlink {
        target: "m".into(),
        path: link.clone(),
    };
    let info = guest
        .perform(op::Operation::Symlink(request))
        .await
        .unwrap();
    assert_eq!(
        (info.r#type(), info.symlink_target.as_str()),
        (FileType::Symlink, "m")
    );
    let request = op::Truncate {
        path: link.clone(),
        size: 3,
    };
    assert_eq!(
        guest
            .perform(op::Operation::Truncate(request))
            .await
            .unwrap()
            .size,
        3
    );
    for (no_follow, kind) in [(true, FileType::Symlink), (false, FileType::Regular)] {
        let info = guest
            .perform(op::Operation::Stat(op::Stat {
                path: link.clone(),
                no_follow,
            }))
            .await;
        assert_eq!(info.unwrap().r#type(), kind);
    }
    for path in [&link, &at("d")] {
        let request = op::Remove {
            path: path.clone(),
            recursive: true,
        };
        let info = guest.perform(op::Operation::Remove(request)).await.unwrap();
        assert_eq!((info.path.as_str(), info.size), (path.as_str(), 0));
    }
    assert_eq!(guest.names(), ["m"]);
}

#[tokio::test]
async fn temporary_names_are_new_and_private() {
    let mut guest = Guest::running().await;
    let directory = guest.path("");
    for (is_directory, mode) in [(false, 0o600), (true, 0o700)] {
        let request = op::MakeTemp {
            directory: directory.clone(),
            prefix: "pre-".into(),
            suffix: ".post".into(),
            is_directory,
        };
        let info = guest
            .perform(op::Operation::MakeTemp(request))
            .await
            .unwrap();
        assert_eq!(info.mode, mode);
        assert!(info.path.contains("/pre-") && info.path.ends_with(".post"));
    }
    assert_eq!(guest.names().len(), 2);
}

#[tokio::test]
async fn listings_go_as_deep_as_asked_and_keep_odd_names() {
    let mut guest = Guest::running().await;
    let root = guest.dir.path().to_owned();
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"odd\xff")), "").unwrap();
    symlink("a", root.join("link")).unwrap();
    let names = |entries: Vec<FileInfo>| -> Vec<String> {
        let prefix = root.to_str().unwrap().len() + 1;
        entries
            .into_iter()
            .map(|entry| entry.path[prefix..].to_owned())
            .collect()
    };
    let path = root.to_str().unwrap();
    for depth in [0, 1] {
        let found = guest.list(path, depth).await.unwrap();
        let odd = found
            .iter()
            .find(|entry| entry.raw_path.ends_with(b"/odd\xff"))
            .unwrap();
        assert!(odd.path.ends_with("odd\u{fffd}"));
        assert_eq!(names(found), ["a", "link", "odd\u{fffd}"]);
    }
    assert_eq!(
        names(guest.list(path, 2).await.unwrap()),
        ["a", "a/b", "link", "odd\u{fffd}"]
    );
    assert_eq!(
        names(guest.list(path, 9).await.unwrap()),
        ["a", "a/b", "a/b/c", "link", "odd\u{fffd}"]
    );
}

#[tokio::test]
async fn a_large_directory_comes_in_pages() {
    let mut guest = Guest::running().await;
    for number in 0..1500 {
        std::fs::write(guest.dir.path().join(number.to_string()), "").unwrap();
    }
    let path = guest.path("");
    assert_eq!(guest.list(&path, 1).await.unwrap().len(), 1500);
}

#[tokio::test]
async fn many_slow_readers_do_not_keep_others_out() {
    let mut guest = Guest::running().await;
    let path = guest.path("large");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(guest.files.read(whole(&path)).await.unwrap().into_inner());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stat = op::Stat {
        path,
        no_follow: false,
    };
    within(guest.perform(op::Operation::Stat(stat)))
        .await
        .unwrap();
}
