//! What a sandbox may have put into its requests, and never sees.
//!
//! A [`Secret`] is a value with a name, the hosts that it is for and the places in a request where it may
//! be. The sandbox has its [`Placeholder`]. A placeholder means something only on the way out of the
//! sandbox whose [`Vault`] knows it; for every other sandbox, and for every host that the secret is not
//! bound to, it is the text that it is.

mod bindings;
mod hosts;
mod placeholder;
pub mod sealed;
mod secret;
mod surface;
mod value;
mod vault;

pub use self::bindings::{Bindings, BindingsError, MAX_SECRETS, MAX_VALUES};
pub use self::hosts::{Hosts, HostsError, MAX_HOSTS};
pub use self::placeholder::{PREFIX, Placeholder, PlaceholderError};
pub use self::secret::{Secret, SecretError};
pub use self::surface::{Headers, MAX_ENTRIES, MAX_PREFIX, MAX_USES, Surface};
pub use self::value::{MAX_VALUE, MIN_VALUE, SecretValue, SecretValueError};
pub use self::vault::Vault;
