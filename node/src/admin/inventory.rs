//! `/admin/v1/transfers`, `…/sockets` and so on: listing what is stored, and ending it.

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::inventory::{self as stored, Kind, Wanted};
use conclave_cluster::state::limits::LISTED_MAX;

use super::api_types::{Ended, Item, Kinds, Listing, Whose};
use super::audit;
use super::error::{Error, check_names};
use super::query::Query;
use super::server::services;
use super::state::AdminState;
use crate::access::{credential_rights, tenant};
use crate::service::inventory::{self, Id};

/// The query of a list, and of an end of many.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The id behind which the page begins.
    #[param(pattern = "^[0-9a-fA-F]{16}$")]
    after: Option<String>,
    /// At most 500 come, whatever is asked for.
    count: Option<u16>,
    /// The organisation of the subject.
    #[param(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    tenant: Option<String>,
    /// Sockets of this subject alone.
    #[param(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    subject: Option<String>,
    /// Sockets at this node alone.
    node: Option<u64>,
}

impl Asked {
    fn wanted(&self, kind: Kind) -> Result<Wanted, Error> {
        if (self.subject.is_some() || self.node.is_some()) && kind != Kind::Socket {
            return Err(Error::Input("`subject` and `node` choose among sockets alone"));
        }
        if self.tenant.is_some() && self.subject.is_none() {
            return Err(Error::Input("`tenant` says whose `subject` is meant"));
        }
        check_names(self.tenant.as_deref(), &[self.subject.as_deref()])?;
        let after = self.after.as_deref().map(id).transpose()?.map(Id::last_key);
        let count_max = self.count.unwrap_or(LISTED_MAX as u16);
        let within = |name| tenant::qualified(self.tenant.as_deref(), name);
        let subject = self.subject.as_deref().map(|name| credential_rights::subject(&within(name)));
        Ok(Wanted { after, count_max, subject, node: self.node, ..Wanted::of(kind) })
    }
}

/// What is stored, over all cells
#[utoipa::path(
    get,
    path = "/admin/v1/{kind}",
    tag = "inventory",
    operation_id = "list",
    params(("kind" = inline(Kinds), Path, description = "What is listed"), Asked),
    responses(
        (status = 200, description = "A page, by id", body = Listing),
        (status = 400, description = "`invalid_query`, `invalid_input`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub(super) async fn list(
    state: web::Data<AdminState>,
    kind: web::Path<String>,
    asked: Query<Asked>,
) -> Result<HttpResponse, Error> {
    let wanted = asked.wanted(kind_of(&kind)?)?;
    let listing = inventory::list(services(&state)?, wanted).await?;
    let next = listing.next.map(|next| Id::of(&next).to_string());
    Ok(HttpResponse::Ok().json(Listing { items: listing.items.iter().map(item).collect(), next }))
}

/// End one thing
#[utoipa::path(
    delete,
    path = "/admin/v1/{kind}/{id}",
    tag = "inventory",
    operation_id = "end",
    params(
        ("kind" = inline(Kinds), Path, description = "What it is"),
        ("id" = String, Path, pattern = "^[0-9a-fA-F]{16}$", description = "As a list shows it"),
    ),
    responses(
        (status = 200, description = "It is ended", body = Ended),
        (status = 400, description = "`invalid_input`"),
        (status = 404, description = "`not_found`, `unknown_id`"),
    )
)]
pub(super) async fn end(
    request: HttpRequest,
    state: web::Data<AdminState>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Error> {
    let (kind, text) = path.into_inner();
    let (kind, id) = (kind_of(&kind)?, id(&text)?);
    audit::audited(&request, &state, &id.to_string(), async {
        if inventory::end(services(&state)?, kind, id).await? { Ok(()) } else { Err(Error::Unknown) }
    })
    .await?;
    Ok(HttpResponse::Ok().json(Ended { ended: 1 }))
}

/// End all sockets of a subject, or at a node
///
/// Only of `sockets`, and only with `subject` or `node`: all of all are not to be ended by leaving something out.
#[utoipa::path(
    delete,
    path = "/admin/v1/{kind}",
    tag = "inventory",
    operation_id = "endMany",
    params(("kind" = inline(Kinds), Path, description = "What is ended"), Asked),
    responses(
        (status = 200, description = "How many were ended", body = Ended),
        (status = 400, description = "`invalid_query`, `invalid_input`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub(super) async fn end_many(
    request: HttpRequest,
    state: web::Data<AdminState>,
    kind: web::Path<String>,
    asked: Query<Asked>,
) -> Result<HttpResponse, Error> {
    let wanted = match kind_of(&kind)? {
        Kind::Socket => asked.wanted(Kind::Socket)?,
        _ => return Err(Error::Input("one is ended by its id; many at once are sockets alone")),
    };
    let about = match (&asked.subject, asked.node) {
        (Some(_), _) => {
            let (tenant, subject) = (asked.tenant.clone(), asked.subject.clone());
            audit::about(&Whose { tenant, subject, ..Whose::default() })
        }
        (None, Some(node)) => format!("node {node}"),
        (None, None) => return Err(Error::Input("`subject` or `node` says which sockets")),
    };
    let ended = audit::audited(&request, &state, &about, async {
        Ok(inventory::end_sockets(services(&state)?, wanted).await?)
    })
    .await?;
    Ok(HttpResponse::Ok().json(Ended { ended }))
}

fn item(item: &stored::Item) -> Item {
    Item {
        id: Id::of(&item.key).to_string(),
        expires_ms: item.expires_ms,
        parts: item.parts,
        of: item.of,
        node: item.attached.map(|at| at.incarnation.node),
    }
}

fn id(text: &str) -> Result<Id, Error> {
    Id::parse(text).ok_or(Error::Input("an id is 16 hexadecimal digits, as a list shows it"))
}

fn kind_of(name: &str) -> Result<Kind, Error> {
    Ok(match Kinds::parse(name).ok_or(Error::NotFound)? {
        Kinds::Transfers => Kind::Transfer,
        Kinds::Sessions => Kind::Negotiation,
        Kinds::Mailboxes => Kind::Mailbox,
        Kinds::Rooms => Kind::Room,
        Kinds::Sockets => Kind::Socket,
        Kinds::InviteCodes => Kind::InviteCode,
        Kinds::Users => Kind::User,
    })
}
