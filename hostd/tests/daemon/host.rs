//! A host for one test: a state directory, an image, and a hostd process.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::files_client::FilesClient;
use protocol::hostd::v1::host_client::HostClient;
use protocol::hostd::v1::networks_client::NetworksClient;
use protocol::hostd::v1::processes_client::ProcessesClient;
use protocol::hostd::v1::sandboxes_client::SandboxesClient;
use protocol::hostd::v1::snapshots_client::SnapshotsClient;
use protocol::hostd::v1::{CreateSandboxRequest, GetSandboxRequest, KillSandboxRequest, Sandbox};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// What nothing in these tests may need, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Host {
    pub temp: TempDir,
    pub child: Child,
    pub channel: Channel,
    pub addresses: Vec<String>,
    pub metrics: Option<SocketAddr>,
    pub gateway: Option<SocketAddr>,
    pub ingress: Option<SocketAddr>,
    pub ssh: Option<SocketAddr>,
}

impl Host {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(options: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        install_image(&temp.path().join("images"));
        write_vmm(&temp.path().join("vmm"));
        Self::start_in(temp, options).await
    }

    pub async fn start_in(temp: TempDir, options: &[&str]) -> Self {
        let command = command(temp.path(), options);
        Self::start_as(command, temp, options).await
    }

    /// A hostd that is told by a variable where its state is, and finds what an earlier one left there.
    pub async fn start_by_variable(temp: TempDir) -> Self {
        let mut command = command_without_state_dir(temp.path(), &[]);
        let state_dir = temp.path().join("state").canonicalize().unwrap();
        command.env("THAW_STATE_DIR", state_dir);
        Self::start_as(command, temp, &[]).await
    }

    async fn start_as(mut command: Command, temp: TempDir, options: &[&str]) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = Vec::new();
        let expected = 1 + options
            .iter()
            .filter(|option| option.starts_with("tcp:"))
            .count();
        while addresses.len() < expected {
            let line = tokio::time::timeout(PATIENCE, lines.next_line())
                .await
                .unwrap()
                .unwrap()
                .expect("hostd did not start");
            addresses.push(line.split_once("listening on ").unwrap().1.to_owned());
        }
        let mut more = [
            ("--metrics", "metrics on ", None),
            ("--gateway", "gateway on ", None),
            ("--ingress", "ingress on ", None),
            ("--ssh", "ssh on ", None),
        ];
        for (option, words, address) in &mut more {
            if options.contains(option) {
                let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
                let line = line.unwrap().unwrap().unwrap();
                *address = Some(line.split_once(*words).unwrap().1.parse().unwrap());
            }
        }
        let [
            (_, _, metrics),
            (_, _, gateway),
            (_, _, ingress),
            (_, _, ssh),
        ] = more;
        let channel = Endpoint::from_shared(format!("unix://{}", socket(temp.path()).display()))
            .unwrap()
            // So that streams which a test leaves unread do not fill the connection's window.
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(16 << 20)
            .connect()
            .await
            .unwrap();
        Self {
            temp,
            child,
            channel,
            addresses,
            metrics,
            gateway,
            ingress,
            ssh,
        }
    }

    pub fn sandboxes(&self) -> SandboxesClient<Channel> {
        SandboxesClient::new(self.channel.clone())
    }

    pub fn processes(&self) -> ProcessesClient<Channel> {
        ProcessesClient::new(self.channel.clone())
    }

    pub fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel.clone())
    }

    pub fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    pub fn networks(&self) -> NetworksClient<Channel> {
        NetworksClient::new(self.channel.clone())
    }

    pub fn host(&self) -> HostClient<Channel> {
        HostClient::new(self.channel.clone())
    }

    pub async fn boot(&self, trouble: &str) -> Result<Sandbox, Status> {
        self.create(boot_request(trouble)).await
    }

    pub async fn create(&self, request: CreateSandboxRequest) -> Result<Sandbox, Status> {
        let mut sandboxes = self.sandboxes();
        let created = tokio::time::timeout(PATIENCE, sandboxes.create(request)).await;
        created
            .expect("Create hangs")
            .map(tonic::Response::into_inner)
    }

    pub async fn get(&self, id: &str) -> Sandbox {
        self.sandboxes()
            .get(GetSandboxRequest {
                sandbox_id: id.into(),
            })
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn kill(&self, id: &str) -> Sandbox {
        self.sandboxes()
            .kill(KillSandboxRequest {
                sandbox_id: id.into(),
            })
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits until the sandbox has ended.
    pub async fn end_of(&self, id: &str) -> Sandbox {
        let started = Instant::now();
        loop {
            let sandbox = self.get(id).await;
            if sandbox.ended_at.is_some() {
                return sandbox;
            }
            assert!(started.elapsed() < PATIENCE, "{id} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Nothing is left of any sandbox but its record.
    pub async fn assert_clean(&self) {
        assert_eq!(
            fs::read_dir(self.state_dir().join("run")).unwrap().count(),
            0,
            "run directories are left"
        );
        let started = Instant::now();
        while vmm_pids(self.temp.path()).len() > 1 {
            assert!(
                started.elapsed() < PATIENCE,
                "more vmm processes than the pool's one"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    /// `kill -9`, and what is left of it on disk.
    pub async fn crash(mut self) -> TempDir {
        self.child.kill().await.unwrap();
        self.temp
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn stop(self) -> TempDir {
        self.stop_by(nix::sys::signal::Signal::SIGTERM).await
    }

    /// The same by another signal.
    pub async fn stop_by(mut self, signal: nix::sys::signal::Signal) -> TempDir {
        let pid = nix::unistd::Pid::from_raw(self.child.id().unwrap() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("hostd does not end")
            .unwrap();
        assert!(status.success(), "{status}");
        self.temp
    }
}

/// hostd on this directory, not started.
pub fn command(temp: &Path, options: &[&str]) -> Command {
    let mut command = command_without_state_dir(temp, options);
    command.arg("--state-dir").arg(temp.join("state"));
    command
}

fn command_without_state_dir(temp: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostd"));
    command
        .arg("--images")
        .arg(temp.join("images"))
        .arg("--vmm")
        .arg(temp.join("vmm"))
        .arg("--listen")
        .arg(format!("unix:{}", socket(temp).display()))
        .args([
            "--vmm-pool",
            "1",
            "--boot-timeout",
            "20s",
            "--log",
            "hostd=debug",
        ])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub fn socket(temp: &Path) -> PathBuf {
    temp.join("hostd.sock")
}

/// A cold boot that goes wrong in a certain way.
pub fn boot_request(trouble: &str) -> CreateSandboxRequest {
    let extra_cmdline = if trouble.is_empty() {
        String::new()
    } else {
        format!("fake={trouble}")
    };
    CreateSandboxRequest {
        source: Some(Source::Image("tiny".into())),
        extra_cmdline,
        ..Default::default()
    }
}

pub fn restore_request(snapshot: &str) -> CreateSandboxRequest {
    CreateSandboxRequest {
        source: Some(Source::Snapshot(snapshot.into())),
        ..Default::default()
    }
}

/// The reason in a status's ErrorInfo.
pub fn reason(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_else(|| panic!("no details: {status:?}"))
}

/// Says why a test does not run, past the test runner, which shows nothing of tests that pass.
pub fn skip(reason: &str) {
    let must_run = std::env::var_os("THAW_MUST_RUN").is_some_and(|value| value == "1");
    assert!(!must_run, "this test must run: {reason}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("skipped {test}: {reason}\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

/// Processes that carry this host's marker.
pub fn vmm_pids(temp: &Path) -> Vec<i32> {
    let marker = format!(
        "{}={}",
        hostd::vmm::MARKER,
        temp.join("state").canonicalize().unwrap().display()
    );
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == marker.as_bytes())
        {
            pids.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    pids
}

fn install_image(images: &Path) {
    let directory = images.join("tiny");
    fs::create_dir_all(&directory).unwrap();
    let part = |name: &str, size: u64| {
        let file = fs::File::create(directory.join(name)).unwrap();
        file.set_len(size).unwrap();
        serde_json::json!({"file": name, "size": size, "sha256": ""})
    };
    let description = serde_json::json!({
        "format_version": 1,
        "name": "tiny",
        "kernel": part("vmlinux", 4096),
        "initramfs": part("initramfs.cpio", 4096),
        "root_disk": part("root.erofs", 1 << 20),
        "scratch_disk": part("scratch.ext4", 4 << 20),
        "defaults": {"cmdline": "console=ttyS0", "vcpus": 1, "memory_bytes": 64 << 20, "user": "root"},
    });
    fs::write(directory.join("image.json"), description.to_string()).unwrap();
}

/// A script that becomes the fake vmm.
fn write_vmm(path: &Path) {
    let binary = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\n--version) echo 'vmm {version}'; exit;;\n\
         --probe) echo '{{\"kvm\":\"unfit\",\"reason\":\"a fake\",\"cpu_vendor\":\"AuthenticFake\",\"cpu_features\":[\"avx\",\"sse2\"]}}'; exit;;\nesac\n\
         exec '{binary}' --exact fake::be_a_vmm --ignored --nocapture\n",
        version = hostd::VERSION,
        binary = binary.display(),
    );
    let file = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o755)
        .open(path)
        .unwrap();
    std::io::Write::write_all(&mut &file, script.as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
