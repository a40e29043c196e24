mod compressed;
mod floods;
mod http1;
mod http2;
mod secrets;
mod tls;
mod websocket;
mod world;
