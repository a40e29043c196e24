//! Tokens.

use std::num::NonZeroU32;
use std::time::SystemTime;

use protocol::hostd::v1 as wire;
use protocol::hostd::v1::tokens_server::Tokens as Service;
use tonic::Request;

use super::{Response, auth};
use crate::error::{Error, Result};
use crate::tenancy::{
    Caller, InvalidOrganisation, NewToken, Organisation, Quota, Scope, TokenRecord, Tokens, Usage,
};

/// The service.
#[derive(Clone, Debug)]
pub struct TokensApi {
    /// All of them.
    pub tokens: Tokens,
}

#[tonic::async_trait]
impl Service for TokensApi {
    async fn create(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Response<wire::CreateTokenResponse> {
        let caller = auth::caller(request.extensions())?;
        let wanted = wanted(&caller, request.into_inner())?;
        let issued = self.tokens.create(&caller, wanted).await?;
        Ok(tonic::Response::new(wire::CreateTokenResponse {
            token: Some(shown(&issued.record, Usage::default())),
            secret: issued.text.to_string(),
        }))
    }

    async fn list(
        &self,
        request: Request<wire::ListTokensRequest>,
    ) -> Response<wire::ListTokensResponse> {
        let caller = auth::caller(request.extensions())?;
        let of = request.into_inner().organisation;
        let of = (!of.is_empty()).then(|| organisation(&of)).transpose()?;
        let all = self.tokens.list(&caller, of.as_ref());
        let tokens = all.iter().map(|(record, usage)| shown(record, *usage));
        Ok(tonic::Response::new(wire::ListTokensResponse {
            tokens: tokens.collect(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Response<wire::RevokeTokenResponse> {
        let caller = auth::caller(request.extensions())?;
        self.tokens
            .revoke(&caller, &request.into_inner().id)
            .await?;
        Ok(tonic::Response::new(wire::RevokeTokenResponse {}))
    }
}

fn wanted(caller: &Caller, request: wire::CreateTokenRequest) -> Result<NewToken> {
    let named = match request.organisation.as_str() {
        "" => caller.organisation().cloned(),
        name => Some(organisation(name)?),
    };
    let scopes = request
        .scopes
        .into_iter()
        .map(scope)
        .collect::<Result<_>>()?;
    let expires_at = request.expires_at.map(SystemTime::try_from).transpose();
    Ok(NewToken {
        name: request.name,
        organisation: named.ok_or_else(|| Error::invalid("organisation", "is missing"))?,
        scopes,
        quota: quota(request.quota.unwrap_or_default()),
        expires_at: expires_at.map_err(|_| Error::invalid("expires_at", "is no time"))?,
    })
}

fn organisation(name: &str) -> Result<Organisation> {
    let invalid = |error: InvalidOrganisation| Error::invalid("organisation", error.to_string());
    name.parse().map_err(invalid)
}

fn scope(value: i32) -> Result<Scope> {
    match wire::TokenScope::try_from(value) {
        Ok(wire::TokenScope::Read) => Ok(Scope::Read),
        Ok(wire::TokenScope::Sandboxes) => Ok(Scope::Sandboxes),
        Ok(wire::TokenScope::Snapshots) => Ok(Scope::Snapshots),
        Ok(wire::TokenScope::Tokens) => Ok(Scope::Tokens),
        Ok(wire::TokenScope::Unspecified) | Err(_) => {
            Err(Error::invalid("scopes", format!("{value} is no scope")))
        }
    }
}

fn quota(quota: wire::TokenQuota) -> Quota {
    Quota {
        sandboxes: (quota.sandboxes != 0).then_some(quota.sandboxes),
        memory_bytes: (quota.memory_bytes != 0).then_some(quota.memory_bytes),
        creates_per_minute: NonZeroU32::new(quota.creates_per_minute),
    }
}

fn shown(record: &TokenRecord, usage: Usage) -> wire::Token {
    let scopes = record.scopes.iter().map(|scope| match scope {
        Scope::Read => wire::TokenScope::Read,
        Scope::Sandboxes => wire::TokenScope::Sandboxes,
        Scope::Snapshots => wire::TokenScope::Snapshots,
        Scope::Tokens => wire::TokenScope::Tokens,
    });
    let quota = wire::TokenQuota {
        sandboxes: record.quota.sandboxes.unwrap_or(0),
        memory_bytes: record.quota.memory_bytes.unwrap_or(0),
        creates_per_minute: record.quota.creates_per_minute.map_or(0, NonZeroU32::get),
    };
    wire::Token {
        id: record.id.to_string(),
        name: record.name.clone(),
        organisation: record.organisation.to_string(),
        scopes: scopes.map(i32::from).collect(),
        quota: Some(quota),
        created_at: Some(record.created_at.into()),
        expires_at: record.expires_at.map(Into::into),
        parent: record
            .parent
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        sandboxes: usage.sandboxes,
        memory_bytes: usage.memory_bytes,
    }
}
