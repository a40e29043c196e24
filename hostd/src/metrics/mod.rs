//! Figures for Prometheus, over HTTP on an address of their own (`--metrics`). What they tell is bounded, and nothing of it
//! names a sandbox, a host that sandboxes ask for, or a secret.

mod figures;
mod server;

pub use server::serve;
