//! Secrets put into requests, and taken out of answers. Pure: bytes and heads in, bytes and heads out.
//!
//! Going out, a placeholder is replaced where its secret's surface says so ([`Substitution`]). Coming
//! back, a value that the host repeats is replaced by the placeholder ([`Redactor`]), in every form in
//! which hosts usually repeat things. That is defence in depth and no more: a host that wants to tell the
//! sandbox a secret that it was given can do so in a form that nobody foresees, and a secret is bound to
//! hosts that are trusted with it.
//!
//! Streams are rewritten with the same result however they are cut into chunks, and hold back only bytes
//! that may be the beginning of something to replace.

mod coding;
mod decoded;
mod encode;
mod patterns;
mod placeholders;
mod redaction;
mod stream;
mod substitution;
mod transform;
mod uses;

pub(crate) use self::coding::{Unreadable, asks_for_readable, decoded};
pub(crate) use self::encode::Text;
pub(crate) use self::placeholders::Placeholders;
pub(crate) use self::redaction::{Lengths, Redactor};
pub(crate) use self::substitution::{Substitution, Unfit, Wanted};
pub(crate) use self::transform::{Same, Transform};
pub(crate) use self::uses::Uses;
