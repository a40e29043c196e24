//! `thaw token`: create, ls, revoke.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use protocol::hostd::v1::{
    CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Token as Info, TokenQuota,
    TokenScope,
};

use super::kill::each;
use crate::args::{bytes, duration};
use crate::client::Hostd;
use crate::error::Error;
use crate::{json, output};

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token for an organisation; prints it, once
    Create(Create),
    /// List tokens
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Refuse tokens from now on, and those that were made with them
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Create {
    /// Whose it is; sandboxes and snapshots made with it are seen by this organisation alone [default: one's own]
    #[arg(
        long,
        alias = "organization",
        default_value = "",
        hide_default_value = true
    )]
    organisation: String,
    /// What it is for, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// What it is good for; may be repeated
    #[arg(long, value_enum, default_values = ["sandboxes", "snapshots"])]
    scope: Vec<Scope>,
    /// When it ends by itself, from now on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires_in: Option<Duration>,
    /// Sandboxes that may live at once
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_sandboxes: u32,
    /// Memory that these may have together
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_memory: Option<u64>,
    /// Sandboxes that may be made in a minute
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_creates_per_minute: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    /// Look at sandboxes, networks and snapshots, but not into them
    Read,
    /// Make, use and end sandboxes; includes read
    Sandboxes,
    /// Save sandboxes and delete snapshots; includes read
    Snapshots,
    /// Make, list and revoke tokens
    Tokens,
}

#[derive(Debug, Args)]
pub struct Ls {
    /// Only those of this organisation
    #[arg(
        long,
        alias = "organization",
        default_value = "",
        hide_default_value = true
    )]
    organisation: String,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// Ids, as `thaw token ls` shows them
    #[arg(required = true)]
    tokens: Vec<String>,
}

pub async fn run(hostd: &Hostd, command: Token, as_json: bool) -> Result<(), Error> {
    match command {
        Token::Create(command) => create(hostd, command, as_json).await,
        Token::Ls(command) => ls(hostd, command, as_json).await,
        Token::Revoke(command) => revoke(hostd, command).await,
    }
}

async fn create(hostd: &Hostd, create: Create, as_json: bool) -> Result<(), Error> {
    let ends = |after| SystemTime::now().checked_add(after).map(Into::into);
    let request = CreateTokenRequest {
        name: create.name,
        organisation: create.organisation,
        scopes: create.scope.into_iter().map(Scope::on_the_wire).collect(),
        quota: Some(TokenQuota {
            sandboxes: create.max_sandboxes,
            memory_bytes: create.max_memory.unwrap_or(0),
            creates_per_minute: create.max_creates_per_minute,
        }),
        expires_at: create.expires_in.and_then(ends),
    };
    let made = hostd
        .tokens()
        .create(request)
        .await
        .map_err(Error::refused("the token"))?
        .into_inner();
    if as_json {
        let mut value = json::token(&made.token.unwrap_or_default());
        value["secret"] = made.secret.into();
        return output::json(&value);
    }
    output::line(&made.secret)
}

async fn ls(hostd: &Hostd, ls: Ls, as_json: bool) -> Result<(), Error> {
    let organisation = ls.organisation;
    let list = hostd
        .tokens()
        .list(ListTokensRequest { organisation })
        .await
        .map_err(Error::refused("tokens"))?
        .into_inner();
    if as_json {
        return output::json(&list.tokens.iter().map(json::token).collect());
    }
    let rows: Vec<_> = list.tokens.iter().map(row).collect();
    output::table(
        [
            "TOKEN",
            "NAME",
            "ORGANISATION",
            "SCOPES",
            "SANDBOXES",
            "MEMORY",
            "CREATED",
            "EXPIRES",
        ],
        &rows,
    )
}

fn row(token: &Info) -> [String; 8] {
    let quota = token.quota.unwrap_or_default();
    let of = |used: String, most: String, limited: bool| match limited {
        true => format!("{used} of {most}"),
        false => used,
    };
    let sandboxes = (token.sandboxes.to_string(), quota.sandboxes.to_string());
    let memory = (
        output::size(token.memory_bytes),
        output::size(quota.memory_bytes),
    );
    [
        token.id.clone(),
        token.name.clone(),
        token.organisation.clone(),
        json::scopes(token).join(","),
        of(sandboxes.0, sandboxes.1, quota.sandboxes != 0),
        of(memory.0, memory.1, quota.memory_bytes != 0),
        json::time(token.created_at.as_ref()).unwrap_or_default(),
        json::time(token.expires_at.as_ref()).unwrap_or_else(|| "never".to_owned()),
    ]
}

async fn revoke(hostd: &Hostd, revoke: Revoke) -> Result<(), Error> {
    each(&revoke.tokens, async |token| {
        let id = token.clone();
        hostd.tokens().revoke(RevokeTokenRequest { id }).await
    })
    .await
}

impl Scope {
    fn on_the_wire(self) -> i32 {
        let scope = match self {
            Self::Read => TokenScope::Read,
            Self::Sandboxes => TokenScope::Sandboxes,
            Self::Snapshots => TokenScope::Snapshots,
            Self::Tokens => TokenScope::Tokens,
        };
        scope.into()
    }
}
