//! Opened connections: the sandbox's CA, TLS on both sides, HTTP/1.1, HTTP/2, upgrades.

pub mod authority;
