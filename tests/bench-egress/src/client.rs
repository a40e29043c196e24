//! A client's connection: HTTP/1.1 over TLS, kept open.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::ensure;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::shares;

/// One connection.
pub struct Client {
    sender: SendRequest<Empty<Bytes>>,
    authorization: HeaderValue,
}

/// What a client needs to connect. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    server: SocketAddr,
    authorization: HeaderValue,
}

impl Connector {
    /// To this address; `key` is what the client has for one.
    pub fn new(server: SocketAddr, key: &str) -> tests::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let any = AnyCertificate(provider.clone());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(any))
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            server,
            authorization: HeaderValue::try_from(format!("Bearer {key}"))?,
        })
    }

    /// Connects.
    pub async fn connect(&self) -> tests::Result<Client> {
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(shares::HOST)?;
        let stream = TokioIo::new(self.tls.connect(name, stream).await?);
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Client {
            sender,
            authorization: self.authorization.clone(),
        })
    }
}

impl Client {
    /// A small request, answered as it should be.
    pub async fn ask(&mut self) -> tests::Result {
        let answer = self.get("/v1/messages").await?;
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(body == shares::ANSWER, "another answer: {body:?}");
        Ok(())
    }

    /// A download of so many bytes.
    pub async fn download(&mut self, length: usize) -> tests::Result {
        let answer = self.get(&format!("{}{length}", shares::BYTES)).await?;
        let mut body = answer.into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len);
        }
        ensure!(received == length, "{received} bytes of {length}");
        Ok(())
    }

    async fn get(&mut self, path: &str) -> tests::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let request = Request::get(path)
            .header(HOST, shares::HOST)
            .header(USER_AGENT, "thaw-bench/1")
            .header(ACCEPT, "*/*")
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Empty::new())?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        ensure!(status == StatusCode::OK, "answered with {status}");
        Ok(answer)
    }
}

/// Contestants have certificates of their own, and this is no test of them.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
