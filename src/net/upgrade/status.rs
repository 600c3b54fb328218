//! What is asked for at the status listener: a page, or an upgrade of who reads that page.

use std::net::IpAddr;

use super::{
    Refusal, Request, Status,
    claim::{claim_of, kind_of},
    request::{Asked, Form, judge_http, read_head, upgrade},
};
use crate::{
    net::{Kind, access::Access},
    node_id::NodeId,
    pages::Page,
};

/// Judges the bytes received so far; `is_local`: only this machine can connect to the listener.
pub(crate) fn judge_status_request(
    bytes: &[u8],
    head_bytes_max: usize,
    id: NodeId,
    access: &Access,
    is_local: bool,
) -> Request {
    read_head(bytes, head_bytes_max, |asked| {
        judge_http(asked.version, &asked.fields)?;
        judge_host(asked, is_local)?;
        if asked.fields.has_token("upgrade", "websocket") {
            return match kind_of(&asked.fields) {
                Kind::Plain => upgrade(asked, Kind::Plain, id, access),
                Kind::Neighbor => Err(Refusal::new(
                    Status::Forbidden,
                    "this is the status listener: nodes connect where --bind says",
                )),
            };
        }
        page(asked, access)
    })
}

/// A page of somebody else's whose name leads to this machine must not read what is meant for those who sit at it.
fn judge_host(asked: &Asked<'_>, is_local: bool) -> Result<(), Refusal> {
    let host = asked.fields.only("host").unwrap_or_default();
    match !is_local || names_this_machine(host) {
        true => Ok(()),
        false => Err(Refusal {
            detail: host.to_owned(),
            ..Refusal::new(
                Status::Forbidden,
                "this listener is of this machine alone: ask for localhost or its address",
            )
        }),
    }
}

fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn page(asked: &Asked<'_>, access: &Access) -> Result<Request, Refusal> {
    let path = asked.target.split('?').next().unwrap_or_default();
    let page = Page::at(path).ok_or(Refusal::new(
        Status::NotFound,
        "there is no such page: /, /metrics, /healthz, /readyz, /peers and /mesh are there",
    ))?;
    if !matches!(asked.method, "GET" | "HEAD") {
        let reason = "only GET and HEAD are accepted here";
        return Err(Refusal::new(Status::OnlyRead, reason));
    }
    if page.tells_of_peers() {
        access.judge_look(claim_of(&asked.target, &asked.fields, Kind::Plain))?;
    }
    let form = Form::of(asked.method);
    Ok(Request::Page { page, form })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessConfig;

    fn judge(request: &str, is_local: bool) -> Request {
        let access = Access::unread(AccessConfig::default(), false);
        judge_status_request(request.as_bytes(), 2048, NodeId(7), &access, is_local)
    }

    fn status(line: &str, host: &str, is_local: bool) -> Option<Status> {
        match judge(
            &format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            is_local,
        ) {
            Request::Answer { answer, .. } => Some(answer.status),
            Request::Page { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_is_asked_for_by_its_path_and_read_only() {
        let page = judge("HEAD /mesh?x HTTP/1.1\r\nHost: localhost\r\n\r\n", true);
        let (page_at, form) = (Page::at("/mesh").expect("it is there"), Form::Head);
        assert_eq!(
            page,
            Request::Page {
                page: page_at,
                form
            }
        );
        for (line, expected) in [
            ("GET /nothing", Status::NotFound),
            ("GET /mesh/", Status::NotFound),
            ("POST /mesh", Status::OnlyRead),
            ("DELETE /", Status::OnlyRead),
        ] {
            assert_eq!(status(line, "localhost", true), Some(expected), "{line}");
        }
    }

    /// DNS rebinding: the name of a page of somebody else begins to lead to this machine.
    #[test]
    fn who_asks_for_another_host_does_not_mean_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:9090",
            "127.0.0.1:9090",
            "127.9.9.9",
            "[::1]:80",
        ] {
            assert_eq!(status("GET /", host, true), None, "{host}");
        }
        for host in [
            "evil.example:9090",
            "localhost.evil.example",
            "10.0.0.7",
            "[::2]:80",
            "[",
            ":1",
        ] {
            assert_eq!(
                status("GET /", host, true),
                Some(Status::Forbidden),
                "{host}"
            );
        }
        assert_eq!(status("GET /", "status.example", false), None);
    }

    #[test]
    fn a_node_does_not_become_a_neighbor_by_the_status_listener() {
        let ask = |offer: &str| {
            judge(
                &format!(
                    "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
                ),
                true,
            )
        };
        let neighbor = ask("Sec-WebSocket-Protocol: wsmesh.v1\r\n");
        assert!(
            matches!(neighbor, Request::Answer { answer, .. } if answer.status == Status::Forbidden)
        );
        let plain = ask("");
        assert!(
            matches!(
                plain,
                Request::Upgrade {
                    kind: Kind::Plain,
                    ..
                }
            ),
            "{plain:?}"
        );
    }
}
