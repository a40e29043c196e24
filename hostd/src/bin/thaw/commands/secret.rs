//! A secret on the command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// `NAME=ENV@HOST,…`: a secret whose value is in a variable of ours.
#[derive(Clone)]
pub struct SecretOption {
    pub name: String,
    pub value: Vec<u8>,
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for SecretOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretOption({} for {:?})", self.name, self.hosts)
    }
}

impl SecretOption {
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::with(text, |name| std::env::var_os(name))
    }

    fn with(text: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let form = || "must be NAME=ENV@HOST or NAME=ENV@HOST,HOST".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (env, hosts) = rest.split_once('@').ok_or_else(form)?;
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if name.is_empty() || env.is_empty() || hosts.iter().any(String::is_empty) {
            return Err(form());
        }
        let missing = || format!("the variable {env} is not set; export it first");
        Ok(Self {
            name: name.to_owned(),
            value: variable(env).ok_or_else(missing)?.into_vec(),
            hosts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_its_value_from_a_variable() {
        let shell = |name: &str| (name == "KEY").then(|| "value".into());
        let secret = SecretOption::with("API_KEY=KEY@a.example,*.b.example", shell).unwrap();
        assert_eq!(secret.value, b"value");
        assert_eq!(secret.hosts, ["a.example", "*.b.example"]);
        assert!(!format!("{secret:?}").contains("value"));
        for bad in [
            "", "A", "A=KEY", "A=KEY@", "=KEY@h", "A=@h", "A=KEY@h,", "A=NONE@h",
        ] {
            assert!(SecretOption::with(bad, shell).is_err(), "{bad}");
        }
    }
}
