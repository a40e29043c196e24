//! What the bench's processes agree on.

/// The host that all requests are for.
pub const HOST: &str = "api.thaw.example";
/// What the upstream wants to see; a contestant that substitutes puts it in.
pub const KEY: &str = "key-4f0e8a54c7d14f5c9a3d0c1b";
/// A small answer, as an API gives it.
pub const ANSWER: &str = r#"{"id":"msg_014f","type":"message","role":"assistant","content":[{"type":"text","text":"Hello."}],"usage":{"input_tokens":12,"output_tokens":6}}"#;
/// `/bytes/N` is answered with N bytes.
pub const BYTES: &str = "/bytes/";
