//! Secrets: what the sandbox has, what the host of the secret gets, and what nobody gets.

use anyhow::{Result, ensure};

use super::{thaw::Thaw, title};
use crate::world::World;

/// The variable of the demo's own environment that has the value.
pub const VARIABLE: &str = "DEMO_API_KEY";
/// A key that opens nothing.
pub const VALUE: &str = "sk-demo-51a9c3e7f0b24d68";

/// Shows it.
///
/// # Errors
/// When anything does not go as it should.
pub fn show(thaw: &Thaw, world: &World<'_>) -> Result<()> {
    title("a sandbox uses a secret that it never has");
    let secret = format!("API_KEY={VARIABLE}@api.thaw.example");
    let create = [
        "create",
        "--allow-net",
        "api.thaw.example",
        "--secret",
        &secret,
    ];
    let sandbox = thaw.shown(&create)?;
    let sandbox = sandbox.trim();
    let placeholder = thaw.shown(&["exec", sandbox, "printenv", "API_KEY"])?;
    ensure!(
        placeholder.starts_with("DENO_SECRET_PLACEHOLDER_"),
        "no placeholder"
    );

    let ask = "curl -sS -H \"authorization: Bearer $API_KEY\" https://api.thaw.example/hello \
               | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"headers\"][\"authorization\"])'";
    let echoed = thaw.shown(&["exec", sandbox, "sh", "-c", ask])?;
    ensure!(
        echoed == format!("Bearer {placeholder}"),
        "the echo is {echoed}"
    );
    let request = world.last_request()?;
    let received = &request["headers"]["authorization"];
    println!("  the server at api.thaw.example received {received}");
    println!("  and what it sent back became the placeholder again on the way in");
    ensure!(
        *received == *format!("Bearer {VALUE}"),
        "it received {received}"
    );

    let other = "curl -sS https://other.thaw.example/ 2>&1 || true";
    let refused = thaw.shown(&["exec", sandbox, "sh", "-c", other])?;
    ensure!(
        refused.contains("Could not resolve"),
        "another host was reached: {refused}"
    );
    thaw.quiet(&["kill", sandbox]).map(drop)
}
