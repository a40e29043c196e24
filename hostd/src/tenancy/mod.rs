//! Who calls, what they may do, and whose things are whose.
//!
//! The operator (the unix socket, a client certificate, the token of `--token-file`) may do everything and sees everything.
//! Everybody else shows a token that the operator, or somebody with the scope `tokens`, has made: it belongs to an organisation,
//! has scopes, and perhaps a quota. What is made with it belongs to the organisation, and no other one can find it, whatever it
//! names it by.
//!
//! | what | whom it belongs to | who sees it |
//! |---|---|---|
//! | sandbox | its maker's organisation | that one |
//! | snapshot of a sandbox | the sandbox's organisation | that one; if there is none, everybody, for reading |
//! | token | the organisation | those of it with the scope `tokens` |

mod caller;
mod organisation;
mod quota;
mod scope;
mod token;
mod tokens;

pub use caller::Caller;
pub use organisation::{InvalidOrganisation, Organisation};
pub use quota::{Held, Quota, Usage};
pub use scope::{Scope, Scopes};
pub use token::{Issued, NewToken, TokenId, TokenRecord};
pub use tokens::Tokens;
