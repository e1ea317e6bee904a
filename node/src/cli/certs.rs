//! `conclave certs`.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::certs::{Error, Folder, Purpose, Written};
use crate::exit::Exit;
use crate::terminal::{complain, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave certs init                                  an authority in ./certs
  conclave certs node 1 2 3 --cluster production       for the links between nodes
  conclave certs server api.example 192.0.2.1          for the public listener, where no public authority signs
  conclave certs client phone.example                  for a client that shows a certificate
  conclave certs renew                                 whatever ends within 30 days
  conclave certs list

Keep the folder off the nodes: authority.key makes members of the cluster. A node reads its files again within a second
after they were replaced.")]
pub(super) struct Arguments {
    /// The folder of the authority
    #[arg(long, value_name = "FOLDER", global = true, default_value = "certs")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an authority
    Init,
    /// Make certificates for the links of nodes
    Node {
        /// The nodes' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        /// The cluster's name (cluster.name)
        #[arg(long, value_name = "NAME", default_value = "conclave")]
        cluster: String,
        #[command(flatten)]
        days: Days,
    },
    /// Make a certificate for the public listener
    Server {
        /// Its names and addresses
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        days: Days,
    },
    /// Make a certificate for a client
    Client {
        /// Its names: the first is its subject, and it may act as peer ids of these names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        days: Days,
    },
    /// Make those anew that end soon
    Renew {
        /// Within so many days
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        within: u32,
    },
    /// Show what was made, and until when it is good
    List,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Days {
    /// For how many days it is good
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let folder = Folder::new(arguments.dir.clone());
    match carry_out(&folder, &arguments.command) {
        Ok(text) => print(&text),
        Err(error @ (Error::NoAuthority(_) | Error::HasAuthority(_) | Error::Name(_))) => {
            complain(error, Exit::Usage)
        }
        Err(error) => complain(error, Exit::Failed),
    }
}

fn carry_out(folder: &Folder, command: &Command) -> Result<String, Error> {
    let mut text = String::new();
    match command {
        Command::Init => {
            let Written { certificate, key } = folder.init()?;
            let _ = writeln!(text, "{} signs; {} is for all nodes", key.display(), certificate.display());
        }
        Command::Node { ids, cluster, days } => {
            for id in ids {
                let written = folder.sign(Purpose::Node { id: *id, cluster: cluster.clone() }, days.days)?;
                text += &node(folder, *id, &written);
            }
        }
        Command::Server { names, days } => {
            let Written { certificate, key } =
                folder.sign(Purpose::Server { names: names.clone() }, days.days)?;
            let _ = writeln!(
                text,
                "for the nodes:\n  http.tls.cert = \"{}\"\n  http.tls.key = \"{}\"\nclients have to trust {}",
                certificate.display(),
                key.display(),
                folder.authority().display()
            );
        }
        Command::Client { names, days } => {
            let Written { certificate, key } =
                folder.sign(Purpose::Client { names: names.clone() }, days.days)?;
            let _ = writeln!(
                text,
                "for the client: {} and {}\nfor the nodes:\n  http.tls.client_ca = \"{}\"",
                certificate.display(),
                key.display(),
                folder.authority().display()
            );
        }
        Command::Renew { within } => {
            for (listed, Written { certificate, key }) in folder.renew(*within)? {
                let _ = writeln!(text, "{}: {} and {}", listed.purpose, certificate.display(), key.display());
            }
            if text.is_empty() {
                let _ = writeln!(text, "nothing ends within {within} days");
            }
        }
        Command::List => {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            for listed in folder.list()? {
                let _ = writeln!(text, "{:>5} days  {}", listed.days_left(now), listed.purpose);
            }
        }
    }
    Ok(text)
}

fn node(folder: &Folder, id: u64, Written { certificate, key }: &Written) -> String {
    format!(
        "for node {id}:\n  cluster.tls.ca = \"{}\"\n  cluster.tls.cert = \"{}\"\n  cluster.tls.key = \"{}\"\n",
        folder.authority().display(),
        certificate.display(),
        key.display()
    )
}
