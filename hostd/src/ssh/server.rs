//! Connections, and who they are.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, run_stream};
use russh::{Channel, ChannelOpenFailure, MethodKind, MethodSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Users, channel};
use crate::sandbox::Sandbox;
use crate::sandboxes::Sandboxes;
use crate::tenancy::Caller;

/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// Channels of one connection at a time.
const CHANNELS: usize = 32;
/// A client says who it is within this time.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// A wrong name is answered after this.
const REFUSAL_TIME: Duration = Duration::from_millis(500);
/// A silent client is asked for a sign of life; after the third time it is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// After the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// What a client may send ahead in one channel.
const WINDOW: u32 = 1 << 20;

pub(super) async fn serve(
    listener: TcpListener,
    key: PrivateKey,
    sandboxes: Sandboxes,
    users: Arc<Users>,
) {
    let all_ended = sandboxes.services().all_ended.clone();
    let config = Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(&[MethodKind::None, MethodKind::PublicKey][..]),
        auth_rejection_time: REFUSAL_TIME,
        auth_rejection_time_initial: Some(REFUSAL_TIME),
        window_size: WINDOW,
        channel_buffer_size: 16,
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        ..Config::default()
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = all_ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection of SSH");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let client = Client::new(sandboxes.clone(), Arc::clone(&users));
        let (config, all_ended) = (Arc::clone(&config), all_ended.clone());
        tokio::spawn(async move {
            all_ended
                .run_until_cancelled(talk(config, stream, client))
                .await;
            drop(place);
        });
    }
}

/// Serves one connection: until it says who it is within its time, and from then on until its end or the sandbox's.
async fn talk(config: Arc<Config>, stream: TcpStream, client: Client) {
    let _ = stream.set_nodelay(true);
    let (admitted, gone) = (client.admitted.clone(), client.gone.clone());
    let _gone = gone.clone().drop_guard();
    let Ok(Ok(session)) = timeout(LOGIN_TIME, run_stream(config, stream, client)).await else {
        return;
    };
    let handle = session.handle();
    let login = async {
        if timeout(LOGIN_TIME, admitted.cancelled()).await.is_ok() {
            gone.cancelled().await;
        }
    };
    tokio::select! {
        ended = session => if let Err(error) = ended {
            tracing::debug!(%error, "a connection of SSH ended");
        },
        () = login => {
            let reason = russh::Disconnect::ByApplication;
            let text = "the sandbox has ended, or nobody logged in".to_owned();
            let telling = handle.disconnect(reason, text, String::new());
            let _ = timeout(Duration::from_secs(1), telling).await;
        }
    }
}

/// One connection's client.
struct Client {
    sandboxes: Sandboxes,
    users: Arc<Users>,
    /// Once it has said who it is.
    sandbox: Option<Sandbox>,
    channels: Arc<Semaphore>,
    admitted: CancellationToken,
    /// The connection ends, or its sandbox has.
    gone: CancellationToken,
}

impl Client {
    fn new(sandboxes: Sandboxes, users: Arc<Users>) -> Self {
        Self {
            sandboxes,
            users,
            sandbox: None,
            channels: Arc::new(Semaphore::new(CHANNELS)),
            admitted: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }

    async fn admit(&mut self, user: &str) -> Auth {
        let Some(id) = self.users.names.read(user) else {
            return Auth::reject();
        };
        // Who knows the name may, whoever it is.
        let anybody = Caller::operator();
        let Ok(sandbox) = self.sandboxes.living_one(&anybody, id.as_str()).await else {
            return Auth::reject();
        };
        let (gone, ending) = (self.gone.clone(), sandbox.clone());
        tokio::spawn(async move {
            if gone.run_until_cancelled(ending.ended()).await.is_some() {
                gone.cancel();
            }
        });
        self.sandbox = Some(sandbox);
        self.admitted.cancel();
        Auth::Accept
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        Ok(self.admit(user).await)
    }

    /// Clients that insist on a key of theirs have it.
    async fn auth_publickey(&mut self, user: &str, _: &PublicKey) -> Result<Auth, Self::Error> {
        Ok(self.admit(user).await)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let place = Arc::clone(&self.channels).try_acquire_owned();
        let (Some(sandbox), Ok(place)) = (self.sandbox.clone(), place) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (handle, gone) = (session.handle(), self.gone.clone());
        reply.accept().await;
        tokio::spawn(async move {
            gone.run_until_cancelled(channel::serve(channel, handle, sandbox))
                .await;
            drop(place);
        });
        Ok(())
    }
}
