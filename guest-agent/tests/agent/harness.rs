//! An agent on a unix socket, and clients for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt};
use guest_agent::barrier::Barrier;
use guest_agent::machine::{Authority, Freezer, Identity, Machine, MachineError, MachineStats};
use guest_agent::processes::Accounts;
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use protocol::agent::v1 as wire;
use protocol::agent::v1::{
    agent_client::AgentClient, files_client::FilesClient, ports_client::PortsClient,
    processes_client::ProcessesClient,
};
use protocol::types::v1::{
    ExitStatus, ProcessInput, ProcessOutput, ProcessSpec, exit_status, process_input::Input,
    process_output::Output,
};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine that writes down what is done to it.
#[derive(Default)]
pub struct Recorder {
    pub steps: Mutex<Vec<&'static str>>,
    /// The step that fails.
    pub fails: Mutex<Option<&'static str>>,
    /// A real cgroup, where the test has one.
    pub freezer: Option<Freezer>,
}

impl Recorder {
    fn step(&self, name: &'static str) -> Result<(), MachineError> {
        if *self.fails.lock().unwrap() == Some(name) {
            return Err(MachineError::Call {
                operation: name,
                errno: Errno::EIO,
            });
        }
        self.steps.lock().unwrap().push(name);
        Ok(())
    }

    pub fn take_steps(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }
}

impl Machine for Recorder {
    fn add_entropy(&self, _bytes: &[u8]) -> Result<(), MachineError> {
        self.step("entropy")
    }
    fn step_clock(&self, to: SystemTime) -> Result<i64, MachineError> {
        self.step("clock")?;
        let ahead = to.duration_since(SystemTime::now()).unwrap_or_default();
        Ok(i64::try_from(ahead.as_nanos()).unwrap())
    }
    fn take_identity(&self, _identity: &Identity) -> Result<(), MachineError> {
        self.step("identity")
    }
    fn trust(&self, _authority: &Authority) {
        self.steps.lock().unwrap().push("trust");
    }
    fn freeze(&self) -> Result<u32, MachineError> {
        self.step("freeze")?;
        self.freezer.as_ref().map_or(Ok(0), Freezer::freeze)
    }
    fn thaw(&self) -> Result<(), MachineError> {
        self.step("thaw")?;
        self.freezer.as_ref().map_or(Ok(()), Freezer::thaw)
    }
    fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.freezer.as_ref().map(Freezer::as_fd)
    }
    fn power_off(&self) -> Result<(), MachineError> {
        self.step("power off")
    }
    /// Little, so that tests reach the limits that depend on it.
    fn memory_bytes(&self) -> u64 {
        64 << 20
    }
    fn stats(&self) -> MachineStats {
        MachineStats {
            processes: 7,
            ..Default::default()
        }
    }
}

/// One agent and its clients.
pub struct Guest {
    pub agent: AgentClient<Channel>,
    pub processes: ProcessesClient<Channel>,
    pub files: FilesClient<Channel>,
    pub ports: PortsClient<Channel>,
    pub machine: Arc<Recorder>,
    /// Where exposed names are looked for, and the socket is.
    pub run: TempDir,
    /// A directory of the test's own; the socket is beside it.
    pub dir: TempDir,
    socket: PathBuf,
}

impl Guest {
    /// Freshly booted: nothing but Hello, Freeze and Enter is answered.
    pub async fn booted(machine: Recorder) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let socket = sockets.path().join("agent.sock");
        let machine = Arc::new(machine);
        let barrier = Arc::new(Barrier::new(machine.clone()));
        let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        tokio::spawn(guest_agent::agent::serve(
            barrier,
            Accounts::new("/etc", "0"),
            sockets.path().to_owned(),
            listener,
        ));
        let channel = connect(&socket).await;
        Self {
            agent: AgentClient::new(channel.clone()),
            processes: ProcessesClient::new(channel.clone()),
            files: FilesClient::new(channel.clone()),
            ports: PortsClient::new(channel),
            machine,
            dir: tempfile::tempdir().unwrap(),
            socket,
            run: sockets,
        }
    }

    /// Past its barrier.
    pub async fn running() -> Self {
        let mut guest = Self::booted(Recorder::default()).await;
        guest.agent.enter(enter(1)).await.unwrap();
        guest
    }

    /// Another connection, and the wire to cut.
    pub async fn another_connection(&self) -> (Channel, Wire) {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut agent = UnixStream::connect(&self.socket).await.unwrap();
        let wire = tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut far, &mut agent).await;
        });
        let near = Mutex::new(Some(TokioIo::new(near)));
        let connector = tower::service_fn(move |_| {
            std::future::ready(
                near.lock()
                    .unwrap()
                    .take()
                    .ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)),
            )
        });
        let channel = endpoint("http://agent".to_owned())
            .connect_with_connector(connector)
            .await;
        (channel.unwrap(), Wire(wire))
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// What is in the test's directory.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Starts a program with these messages after the first.
    pub async fn exec_with(
        &mut self,
        spec: ProcessSpec,
        inputs: impl Stream<Item = Input> + Send + 'static,
    ) -> Result<Streaming<ProcessOutput>, Status> {
        let first = futures::stream::iter([Input::Start(spec)]);
        let messages = first
            .chain(inputs)
            .map(|input| ProcessInput { input: Some(input) });
        self.processes
            .exec(messages)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Runs a program without input to its end.
    pub async fn run(&mut self, spec: ProcessSpec) -> Result<Outcome, Status> {
        let output = self.exec_with(spec, futures::stream::empty()).await?;
        collect(output).await
    }

    /// Runs a shell line to its end.
    pub async fn sh(&mut self, line: &str) -> Outcome {
        self.run(shell(line)).await.unwrap()
    }
}

/// A connection's only wire. Dropping it cuts it.
pub struct Wire(tokio::task::JoinHandle<()>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(socket: &Path) -> Channel {
    endpoint(format!("unix://{}", socket.display()))
        .connect()
        .await
        .unwrap()
}

/// With a connection window that some stalled streams do not fill, as a host has it.
fn endpoint(uri: String) -> Endpoint {
    Endpoint::from_shared(uri)
        .unwrap()
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(64 << 20)
}

/// A valid request for the nth epoch.
pub fn enter(epoch: u128) -> wire::EnterRequest {
    wire::EnterRequest {
        epoch: uuid::Uuid::from_u128(epoch).to_string(),
        entropy: vec![7; 64],
        wall_clock: Some(SystemTime::now().into()),
        hostname: "box".to_owned(),
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
        env: [("FROM_SANDBOX".to_owned(), "yes".to_owned())].into(),
        authority_pem: String::new(),
        same_machine: false,
    }
}

/// A program with its arguments.
pub fn program(program: &str, args: &[&str]) -> ProcessSpec {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    ProcessSpec {
        program: program.to_owned(),
        args,
        ..Default::default()
    }
}

/// A shell line.
pub fn shell(line: &str) -> ProcessSpec {
    program("sh", &["-c", line])
}

/// All that a process said.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pid: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub dropped: u64,
    pub exit: Option<ExitStatus>,
}

impl Outcome {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
    pub fn code(&self) -> Option<i32> {
        match self.exit?.status? {
            exit_status::Status::Code(code) => Some(code),
            exit_status::Status::Signal(_) => None,
        }
    }
    pub fn signal(&self) -> Option<i32> {
        match self.exit?.status? {
            exit_status::Status::Signal(signal) => Some(signal),
            exit_status::Status::Code(_) => None,
        }
    }
    fn add(&mut self, output: Output) {
        assert!(self.exit.is_none(), "exited is the last message");
        match output {
            Output::Started(started) => {
                self.pid = started.pid;
                self.dropped = started.stdout_dropped + started.stderr_dropped;
            }
            Output::Stdout(data) => self.stdout.extend_from_slice(&data),
            Output::Stderr(data) => self.stderr.extend_from_slice(&data),
            Output::Exited(exit) => self.exit = Some(exit),
        }
    }
}

/// Reads a stream to its end.
pub async fn collect(mut output: Streaming<ProcessOutput>) -> Result<Outcome, Status> {
    let mut outcome = Outcome::default();
    while let Some(message) = within(output.message()).await? {
        outcome.add(message.output.unwrap());
    }
    Ok(outcome)
}

/// Reads until `done` is content.
pub async fn read_until(
    output: &mut Streaming<ProcessOutput>,
    done: impl Fn(&Outcome) -> bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    while !done(&outcome) {
        let message = within(output.message())
            .await
            .unwrap()
            .expect("more output");
        outcome.add(message.output.unwrap());
    }
    outcome
}

/// Fails the test instead of hanging.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs: it exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

/// Asserts code and ErrorInfo reason; answers the metadata.
pub fn assert_reason(
    status: &Status,
    code: Code,
    reason: &str,
) -> std::collections::HashMap<String, String> {
    use tonic_types::StatusExt;
    assert_eq!(status.code(), code, "{status:?}");
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("details of {status:?}"));
    assert_eq!(info.reason, reason, "{status:?}");
    info.metadata
}

/// Asserts a POSIX error with its errno and operation.
pub fn assert_posix(status: &Status, code: Code, errno: Errno, operation: &str) {
    let metadata = assert_reason(status, code, &format!("{errno:?}"));
    assert_eq!(metadata.get("errno"), Some(&(errno as i32).to_string()));
    assert_eq!(
        metadata.get("operation").map(String::as_str),
        Some(operation)
    );
    assert!(metadata.contains_key("path"));
}
