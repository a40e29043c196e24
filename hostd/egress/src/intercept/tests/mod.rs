mod floods;
mod http1;
mod http2;
mod tls;
mod websocket;
mod world;
