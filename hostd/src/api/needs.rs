//! What a caller has to be for each method: one table, held against the services by a test.

use crate::tenancy::Scope;

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Not even a token.
    Nothing,
    /// Any token.
    Token,
    /// A token with this scope, or the operator.
    Scope(Scope),
    /// The operator.
    Operator,
}

/// What a path of gRPC needs. Of what is not in the table nobody knows, so the operator alone may call it.
pub fn of(path: &str) -> Need {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (service, method) = path.split_once('/').unwrap_or((path, ""));
    if let Some(own) = service.strip_prefix("thaw.hostd.v1.") {
        return of_own(own, method).unwrap_or(Need::Operator);
    }
    match service {
        "grpc.health.v1.Health" => Need::Nothing,
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
            Need::Token
        }
        _ => Need::Operator,
    }
}

fn of_own(service: &str, method: &str) -> Option<Need> {
    let scope = match (service, method) {
        ("Host", "Doctor") => return Some(Need::Operator),
        ("Host", "Info" | "Health") | ("Networks", "GetSealingKey") => return Some(Need::Token),
        ("Host", "SandboxStats")
        | ("Networks", "Get" | "Watch")
        | ("Sandboxes", "Get" | "List" | "Watch")
        | ("Snapshots", "Get" | "List") => Scope::Read,
        ("Files", "Do" | "List" | "Read" | "Write")
        | ("Networks", "SetPolicy" | "PutSecrets" | "RemoveSecret")
        | ("Processes", "Exec" | "List" | "Spawn" | "Signal" | "Wait")
        | ("Sandboxes", "Create" | "Kill" | "Pause" | "Resume" | "ExtendTimeout") => {
            Scope::Sandboxes
        }
        ("Snapshots", "Create" | "Delete") => Scope::Snapshots,
        ("Tokens", "Create" | "List" | "Revoke") => Scope::Tokens,
        _ => return None,
    };
    Some(Need::Scope(scope))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_is_in_the_table() {
        let set = FileDescriptorSet::decode(protocol::FILE_DESCRIPTOR_SET).unwrap();
        let files = set.file.iter();
        let ours = files.filter(|file| file.package() == "thaw.hostd.v1");
        let mut methods = 0;
        for service in ours.flat_map(|file| &file.service) {
            for method in &service.method {
                let found = of_own(service.name(), method.name());
                assert!(found.is_some(), "{}/{}", service.name(), method.name());
                methods += 1;
            }
        }
        assert!(methods > 20, "{methods}");
    }

    #[test]
    fn what_nobody_knows_is_the_operators() {
        for path in [
            "",
            "/",
            "/x",
            "/thaw.hostd.v1.Sandboxes/New",
            "/thaw.agent.v1.Files/Read",
        ] {
            assert_eq!(of(path), Need::Operator, "{path}");
        }
        assert_eq!(of("/grpc.health.v1.Health/Check"), Need::Nothing);
        assert_eq!(of("/thaw.hostd.v1.Host/Doctor"), Need::Operator);
    }
}
