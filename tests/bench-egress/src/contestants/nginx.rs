//! nginx as it is set up in front of an API: TLS on both sides, connections kept on both sides, the key put in.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use tests::world::AUTHORITY;
use tests::world::addresses::API;

use super::program::{on_core, spawn, until_ready};
use super::{Contestant, Surroundings};
use crate::client::Connector;
use crate::shares::{HOST, KEY};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// Starts it with one process, which is as many as have room on its core.
pub fn start(name: &'static str, around: Surroundings<'_>) -> tests::Result<Contestant> {
    let directory = around.directory.join("nginx");
    fs::create_dir(&directory)?;
    let identity = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    fs::write(directory.join("certificate.pem"), identity.cert.pem())?;
    fs::write(
        directory.join("key.pem"),
        identity.signing_key.serialize_pem(),
    )?;
    let authority = around.directory.join(AUTHORITY);
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration(&authority.display().to_string()))?;
    let mut command = on_core(around.core, &around.programs.nginx);
    command.arg("-p").arg(&directory).arg("-c").arg(&file);
    command.arg("-e").arg(directory.join("error.log"));
    let program = spawn(&mut command)?;
    until_ready(Contestant {
        name,
        connector: Connector::new(ADDRESS, "not-used")?,
        room: None,
        program: Some(program),
    })
}

fn configuration(authority: &str) -> String {
    format!(
        r#"
daemon off;
master_process off;
pid nginx.pid;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    upstream api {{
        server {API}:443;
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {ADDRESS} ssl;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        location / {{
            proxy_pass https://api;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Host {HOST};
            proxy_set_header Authorization "Bearer {KEY}";
            proxy_ssl_server_name on;
            proxy_ssl_name {HOST};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {authority};
        }}
    }}
}}
"#
    )
}
