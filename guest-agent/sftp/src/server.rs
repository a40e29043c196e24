//! [`Server`]: each request, carried out.

use std::collections::HashMap;
use std::fs::{self, OpenOptions, ReadDir};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use russh_sftp::de::from_bytes;
use russh_sftp::extensions::{
    FSYNC, FsyncExtension, HARDLINK, HardlinkExtension, LIMITS, LimitsExtension,
};
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};
use tokio::sync::oneshot;

use crate::attributes;

/// Files and directories that a client may have open.
const HANDLES: usize = 256;
/// Of one read or write, and of a packet around it.
const LONGEST: u32 = 240 << 10;
const LONGEST_PACKET: u32 = 256 << 10;
/// Entries of a directory in one answer.
const ENTRIES: usize = 128;
/// Renames over what is there, which version 3 does not.
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// What an open handle stands for.
enum Open {
    File(fs::File),
    Directory(PathBuf, ReadDir),
}

/// One client's requests. Its paths are those of the process.
pub struct Server {
    open: HashMap<String, Open>,
    handles: u64,
    _alive: oneshot::Sender<()>,
}

impl Server {
    /// `alive` is dropped with it.
    pub fn new(alive: oneshot::Sender<()>) -> Self {
        Self {
            open: HashMap::new(),
            handles: 0,
            _alive: alive,
        }
    }

    fn add(&mut self, id: u32, open: Open) -> Result<Handle, StatusReply> {
        if self.open.len() >= HANDLES {
            let text = format!("no more than {HANDLES} files are open at a time");
            return Err(StatusCode::Failure.with_message(text));
        }
        self.handles += 1;
        let handle = self.handles.to_string();
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&fs::File, StatusReply> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(no_handle()),
        }
    }

    /// A path that leads to what is open.
    fn path(&self, handle: &str) -> Result<PathBuf, StatusReply> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(format!("/proc/self/fd/{}", file.as_raw_fd()).into()),
            Some(Open::Directory(path, _)) => Ok(path.clone()),
            None => Err(no_handle()),
        }
    }
}

fn no_handle() -> StatusReply {
    StatusCode::Failure.with_message("that handle is not open")
}

fn failed(error: io::Error) -> StatusReply {
    let code = match error.kind() {
        ErrorKind::NotFound => StatusCode::NoSuchFile,
        ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        ErrorKind::Unsupported => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn done(id: u32, done: io::Result<()>) -> Result<Status, StatusReply> {
    done.map_err(failed)?;
    Ok(Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en".to_owned(),
    })
}

fn one(id: u32, path: &Path, attrs: FileAttributes) -> Name {
    let file = File::new(path.to_string_lossy(), attrs);
    Name {
        id,
        files: vec![file],
    }
}

/// How OpenSSH reads a file's mode on its way: as it is, if nothing is said.
fn options(flags: OpenFlags, attrs: &FileAttributes) -> OpenOptions {
    let mut options = OpenOptions::new();
    let writes = flags.contains(OpenFlags::WRITE);
    options
        .read(flags.contains(OpenFlags::READ) || !writes)
        .write(writes && !flags.contains(OpenFlags::APPEND))
        .append(writes && flags.contains(OpenFlags::APPEND))
        .truncate(writes && flags.contains(OpenFlags::TRUNCATE))
        .create(writes && flags.contains(OpenFlags::CREATE))
        .create_new(writes && flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUDE))
        .mode(attributes::mode(attrs).unwrap_or(0o666));
    options
}

impl Handler for Server {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusReply> {
        let mut version = Version::new();
        for name in [POSIX_RENAME, HARDLINK, FSYNC, LIMITS] {
            version.extensions.insert(name.to_owned(), "1".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, StatusReply> {
        let file = options(pflags, &attrs).open(filename).map_err(failed)?;
        self.add(id, Open::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, StatusReply> {
        self.open.remove(&handle).ok_or_else(no_handle)?;
        done(id, Ok(()))
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        len: u32,
    ) -> Result<Data, StatusReply> {
        let file = self.file(&handle)?;
        let mut data = vec![0; len.min(LONGEST) as usize];
        let length = file.read_at(&mut data, offset).map_err(failed)?;
        if length == 0 && len > 0 {
            return Err(StatusCode::Eof.into());
        }
        data.truncate(length);
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, StatusReply> {
        done(id, self.file(&handle)?.write_all_at(&data, offset))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let attrs = attributes::of(&metadata);
        Ok(Attrs { id, attrs })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        let metadata = fs::metadata(path).map_err(failed)?;
        let attrs = attributes::of(&metadata);
        Ok(Attrs { id, attrs })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusReply> {
        let metadata = fs::metadata(self.path(&handle)?).map_err(failed)?;
        let attrs = attributes::of(&metadata);
        Ok(Attrs { id, attrs })
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusReply> {
        done(id, attributes::apply(Path::new(&path), &attrs))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusReply> {
        done(id, attributes::apply(&self.path(&handle)?, &attrs))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusReply> {
        let entries = fs::read_dir(&path).map_err(failed)?;
        self.add(id, Open::Directory(path.into(), entries))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusReply> {
        let Some(Open::Directory(_, entries)) = self.open.get_mut(&handle) else {
            return Err(no_handle());
        };
        let mut files = Vec::new();
        for entry in entries.by_ref().take(ENTRIES) {
            let entry = entry.map_err(failed)?;
            // Of one that has gone meanwhile, the name is left.
            let attrs = entry.metadata().map(|metadata| attributes::of(&metadata));
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(File::new(name, attrs.unwrap_or_default()));
        }
        if files.is_empty() {
            return Err(StatusCode::Eof.into());
        }
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, StatusReply> {
        done(id, fs::remove_file(filename))
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusReply> {
        let mode = attributes::mode(&attrs).unwrap_or(0o777);
        done(id, fs::DirBuilder::new().mode(mode).create(path))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, StatusReply> {
        done(id, fs::remove_dir(path))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let asked = if path.is_empty() { "." } else { &path };
        let real = match fs::canonicalize(asked) {
            // What is to be made there is asked for, too.
            Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(asked),
            real => real,
        };
        Ok(one(id, &real.map_err(failed)?, FileAttributes::empty()))
    }

    async fn rename(
        &mut self,
        id: u32,
        oldpath: String,
        newpath: String,
    ) -> Result<Status, StatusReply> {
        let kept = RenameFlags::RENAME_NOREPLACE;
        let renamed = renameat2(AT_FDCWD, oldpath.as_str(), AT_FDCWD, newpath.as_str(), kept);
        done(id, renamed.map_err(io::Error::from))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let target = fs::read_link(path).map_err(failed)?;
        Ok(one(id, &target, FileAttributes::empty()))
    }

    /// Of the two, clients say first what the link leads to, as OpenSSH always has, and not as the draft says.
    async fn symlink(
        &mut self,
        id: u32,
        linkpath: String,
        targetpath: String,
    ) -> Result<Status, StatusReply> {
        let (target, link) = (linkpath, targetpath);
        done(id, symlink(target, link))
    }

    async fn extended(
        &mut self,
        id: u32,
        request: String,
        data: Vec<u8>,
    ) -> Result<Packet, StatusReply> {
        let bad = |_| StatusReply::new(StatusCode::BadMessage);
        let mut data = data.into();
        let extended = match request.as_str() {
            POSIX_RENAME => {
                let paths: HardlinkExtension = from_bytes(&mut data).map_err(bad)?;
                done(id, fs::rename(paths.oldpath, paths.newpath))
            }
            HARDLINK => {
                let paths: HardlinkExtension = from_bytes(&mut data).map_err(bad)?;
                done(id, fs::hard_link(paths.oldpath, paths.newpath))
            }
            FSYNC => {
                let of: FsyncExtension = from_bytes(&mut data).map_err(bad)?;
                done(id, self.file(&of.handle)?.sync_all())
            }
            LIMITS => {
                let limits = LimitsExtension {
                    max_packet_len: LONGEST_PACKET.into(),
                    max_read_len: LONGEST.into(),
                    max_write_len: LONGEST.into(),
                    max_open_handles: HANDLES as u64,
                };
                let data = russh_sftp::ser::to_bytes(&limits).map_err(bad)?.to_vec();
                return Ok(Packet::ExtendedReply(ExtendedReply { id, data }));
            }
            _ => return Err(StatusCode::OpUnsupported.into()),
        };
        extended.map(Packet::Status)
    }
}
