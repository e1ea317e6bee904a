//! Organisations: each has a namespace of its own, in which nothing of another one is found.
//!
//! Which one a request belongs to is told by its token, or by the host name that it is sent to. A name of one organisation is
//! another storage key than the same name of the next, so that what is foreign and what is absent cannot be told apart.

mod policy;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::leader_rules::{Group, Owner};

use super::tier_limits::Rule;
pub use policy::{Named, Policy, PolicyError};

/// Characters of an organisation's name.
const NAME_CHARS_MAX: usize = 63;

/// Whether this can be an organisation's name: letters, digits and hyphens, as a label of a host name has.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-')
}

/// A name within an organisation, as one text. Names have no control characters, so that no two come to the same.
pub fn qualified<'a>(tenant: Option<&str>, name: &'a str) -> Cow<'a, str> {
    match tenant {
        Some(tenant) => format!("{tenant}\n{name}").into(),
        None => name.into(),
    }
}

/// The organisation and the name that [`qualified`] made one text of.
pub fn split(qualified: &str) -> (Option<&str>, &str) {
    match qualified.split_once('\n') {
        Some((tenant, name)) => (Some(tenant), name),
        None => (None, qualified),
    }
}

/// A host name, and the organisation that is meant by it: `acme.example=acme`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    host: String,
    tenant: String,
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, tenant) = text.split_once('=').ok_or("a host name, `=`, and an organisation's name")?;
        let (host, tenant) = (host.trim().to_ascii_lowercase(), tenant.trim().to_owned());
        if host.is_empty() || host.contains([':', '/', ' ']) || !is_name(&tenant) {
            return Err("a host name without a port, `=`, and an organisation's name");
        }
        Ok(Self { host, tenant })
    }
}

/// How organisations are told apart, and what each may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenants {
    hosts: BTreeMap<String, String>,
    policies: BTreeMap<String, Arc<Policy>>,
    default: Arc<Policy>,
}

impl Tenants {
    /// By these hosts and policies; what a policy leaves open is as `default` has it.
    pub fn new(hosts: Vec<Host>, policies: Vec<Named>, default: Policy) -> Self {
        let policy = |named: Named| {
            let Named { name, storage_percent, allowance_percent, origins, .. } = named;
            let policy = Policy {
                storage_percent: storage_percent.unwrap_or(default.storage_percent),
                allowance_percent: allowance_percent.unwrap_or(default.allowance_percent),
                origins,
                requires_approved_device: named.requires_approved_device || default.requires_approved_device,
                ttl_seconds: named.ttl_seconds,
            };
            (name, Arc::new(policy))
        };
        Self {
            hosts: hosts.into_iter().map(|Host { host, tenant }| (host, tenant)).collect(),
            policies: policies.into_iter().map(policy).collect(),
            default: Arc::new(default),
        }
    }

    /// The organisation that a host name means; `authority` may have a port.
    pub fn at_host(&self, authority: &str) -> Option<&str> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        // A name may end in the root's dot.
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.hosts.get(&host).map(String::as_str)
    }

    /// Whether a host name means any.
    pub fn have_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Those that a host name means or that have a policy, by name, and the host names of each.
    pub fn configured(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut all: BTreeMap<&str, Vec<&str>> =
            self.policies.keys().map(|name| (name.as_str(), Vec::new())).collect();
        for (host, tenant) in &self.hosts {
            all.entry(tenant).or_default().push(host);
        }
        all
    }

    /// Whether any of them has its devices let in.
    pub fn ask_for_devices(&self) -> bool {
        self.default.requires_approved_device
            || self.policies.values().any(|policy| policy.requires_approved_device)
    }

    /// The organisation of this name, or those who belong to none.
    pub fn named(&self, name: Option<&str>) -> Tenant {
        Tenant(name.map(|name| {
            let key = Key::derive(Domain::Client, &[b"tenant", name.as_bytes()]);
            let policy = self.policies.get(name).unwrap_or(&self.default).clone();
            Arc::new(Known { name: name.to_owned(), key, policy })
        }))
    }
}

/// Nobody is told apart by a host name, and all may have what one alone may.
impl Default for Tenants {
    fn default() -> Self {
        let policy = Policy {
            storage_percent: 100,
            allowance_percent: 100,
            origins: Vec::new(),
            requires_approved_device: false,
            ttl_seconds: None,
        };
        Self::new(Vec::new(), Vec::new(), policy)
    }
}

#[derive(Debug)]
struct Known {
    name: String,
    key: Key,
    policy: Arc<Policy>,
}

/// The organisation that somebody belongs to, if it is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tenant(Option<Arc<Known>>);

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("none"))
    }
}

impl Tenant {
    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|known| known.name.as_str())
    }

    /// What its namespace, and its account, are derived from.
    pub fn key(&self) -> Option<&Key> {
        self.0.as_ref().map(|known| &known.key)
    }

    /// What it may have.
    pub fn policy(&self) -> Option<&Policy> {
        self.0.as_ref().map(|known| &*known.policy)
    }

    /// On whose account its clients store: each on its own within the organisation, and all on the organisation's. One who
    /// shows no credential on those of its address, too, whichever organisations it stores in.
    pub fn owner(&self, owner: Owner, has_subject: bool) -> Owner {
        let Some(known) = &self.0 else { return owner };
        let (tenant, percent) = (known.key, known.policy.storage_percent);
        let group = match owner.group {
            Some(Group::Network(network)) if !has_subject => {
                Group::Guests { tenant, percent, client: owner.client, network: Some(network) }
            }
            _ if !has_subject => Group::Guests { tenant, percent, client: owner.client, network: None },
            _ => Group::Tenant { key: tenant, percent },
        };
        let client = Key::derive(Domain::Client, &[b"of", tenant.as_bytes(), owner.client.as_bytes()]);
        Owner { client, group: Some(group) }
    }

    /// The rule that its clients are under, of that of everybody.
    pub fn rule(&self, rule: Rule) -> Rule {
        let percent = self.0.as_ref().map_or(100, |known| known.policy.allowance_percent);
        let limit = u64::from(rule.limit) * u64::from(percent) / 100;
        Rule { limit: u32::try_from(limit).unwrap_or(u32::MAX).max(1), ..rule }
    }

    /// For how long something of its clients' lives that would live for this long.
    pub fn ttl(&self, ttl: Duration) -> Duration {
        match self.0.as_ref().and_then(|known| known.policy.ttl_seconds.as_ref()) {
            Some(range) => {
                let [least, most] =
                    [range.start(), range.end()].map(|end| Duration::from_secs((*end).into()));
                ttl.clamp(least, most)
            }
            None => ttl,
        }
    }

    /// Whether its pages may come from this origin (RFC 6454, section 7.1).
    pub fn takes_origin(&self, origin: &str) -> bool {
        let origins = self.0.as_ref().map_or(&[][..], |known| &known.policy.origins);
        origins.is_empty() || origins.iter().any(|known| known.is(origin))
    }

    /// Whether its devices have to be let in.
    pub fn requires_approved_device(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.policy.requires_approved_device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            storage_percent: 40,
            allowance_percent: 100,
            origins: Vec::new(),
            requires_approved_device: false,
            ttl_seconds: None,
        }
    }

    fn tenants(hosts: &[&str], policies: &[&str]) -> Tenants {
        let hosts = hosts.iter().map(|text| text.parse().unwrap()).collect();
        Tenants::new(hosts, policies.iter().map(|text| text.parse().unwrap()).collect(), policy())
    }

    #[test]
    fn names_of_two_organisations_never_come_to_the_same() {
        assert_eq!(qualified(None, "ann"), "ann");
        assert_ne!(qualified(Some("a"), "b"), qualified(None, "a/b"));
        assert_eq!(split(&qualified(Some("acme"), "ann")), (Some("acme"), "ann"));
        assert_eq!(split("ann"), (None, "ann"));
    }

    #[test]
    fn a_host_means_an_organisation_whatever_its_port_and_case() {
        let tenants = tenants(&["acme.example=acme"], &[]);
        for authority in ["acme.example", "ACME.example:8443", "acme.example.:443"] {
            assert_eq!(tenants.at_host(authority), Some("acme"), "{authority}");
        }
        for authority in ["example", "acme.example.evil", "[::1]:3000", ""] {
            assert_eq!(tenants.at_host(authority), None, "{authority}");
        }
        for wrong in ["acme", "acme.example=Acme", "acme.example:80=acme", "=acme"] {
            assert!(wrong.parse::<Host>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn those_with_a_host_or_a_policy_are_known_by_name() {
        let tenants = tenants(&["b.example=b", "a.example=a", "a.test=a"], &["quiet: storage_percent=3"]);
        let known: Vec<_> = tenants.configured().into_iter().collect();
        assert_eq!(known, [("a", vec!["a.example", "a.test"]), ("b", vec!["b.example"]), ("quiet", vec![])]);
    }

    #[test]
    fn a_policy_changes_what_it_names() {
        let text = "acme: storage_percent=30 allowance_percent=50 origin=https://ACME.example:443/";
        let tenants = tenants(&[], &[text, "quiet: require_approved_device"]);
        let rule = Rule { limit: 9, window: Duration::from_secs(1) };
        let (acme, other) = (tenants.named(Some("acme")), tenants.named(Some("other")));
        assert_eq!(
            (acme.rule(rule).limit, other.rule(rule).limit, Tenant::default().rule(rule).limit),
            (4, 9, 9)
        );
        assert!(acme.takes_origin("https://acme.example") && !acme.takes_origin("https://evil.example"));
        assert!(other.takes_origin("https://evil.example"), "as everybody's are judged");
        assert!(tenants.named(Some("quiet")).requires_approved_device() && !acme.requires_approved_device());
    }

    #[test]
    fn what_an_organisation_stores_lives_within_its_range() {
        let tenants = tenants(&[], &["acme: ttl_seconds=60..600"]);
        let lives = |name, seconds| tenants.named(name).ttl(Duration::from_secs(seconds)).as_secs();
        assert_eq!(
            [10, 60, 300, 600, 3_600].map(|asked| lives(Some("acme"), asked)),
            [60, 60, 300, 600, 600]
        );
        assert_eq!((lives(Some("other"), 3_600), lives(None, 10)), (3_600, 10));
    }

    #[test]
    fn clients_of_an_organisation_are_on_its_account() {
        let tenants = tenants(&[], &[]);
        let client = Key::derive(Domain::Client, &[b"address"]);
        let owner = Owner { client, group: None };
        let (acme, other) = (tenants.named(Some("acme")), tenants.named(Some("other")));
        assert_ne!(acme.owner(owner, false).client, other.owner(owner, false).client);
        assert_ne!(acme.owner(owner, true).client, other.owner(owner, true).client, "a subject's, too");
        assert_ne!(acme.owner(owner, true).group, other.owner(owner, true).group);
        assert_eq!(Tenant::default().owner(owner, false), owner);
        let network = Key::derive(Domain::Client, &[b"network"]);
        let neighbour = Owner { group: Some(Group::Network(network)), ..owner };
        let Some(Group::Guests { client: outside, network: counted, .. }) =
            acme.owner(neighbour, false).group
        else {
            panic!("it is counted outside of the organisation, too")
        };
        assert_eq!((outside, counted), (client, Some(network)));
    }
}
