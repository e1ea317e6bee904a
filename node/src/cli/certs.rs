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
        #[arg(required = true, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        ids: Vec<u64>,
        /// The cluster's name (cluster.name)
        #[arg(long, value_name = "NAME", default_value = "conclave")]
        cluster: String,
        #[command(flatten)]
        how: How,
    },
    /// Make a certificate for the public listener
    Server {
        /// Its names and addresses
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Make a certificate for a client
    Client {
        /// Its names: the first is its subject, and it may act as peer ids of these names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        how: How,
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
struct How {
    /// For how many days it is good
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Put it in the place of another certificate of the same file name
    #[arg(long)]
    replace: bool,
}

impl How {
    /// Makes certificates: all of them, or none if one is in the way.
    fn sign(self, folder: &Folder, purposes: &[Purpose]) -> Result<Vec<Written>, Error> {
        if !self.replace {
            purposes.iter().try_for_each(|purpose| folder.has_room_for(purpose))?;
        }
        purposes.iter().map(|purpose| folder.sign(purpose.clone(), self.days)).collect()
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let folder = Folder::new(arguments.dir.clone());
    match carry_out(&folder, &arguments.command) {
        Ok(text) => print(&text),
        Err(
            error @ (Error::NoAuthority(_)
            | Error::Ended(_)
            | Error::HasAuthority(_)
            | Error::Taken { .. }
            | Error::Name(_)),
        ) => complain(error, Exit::Usage),
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
        Command::Node { ids, cluster, how } => {
            let purpose = |id: &u64| Purpose::Node { id: *id, cluster: cluster.clone() };
            let purposes: Vec<_> = ids.iter().map(purpose).collect();
            for (id, written) in ids.iter().zip(how.sign(folder, &purposes)?) {
                text += &node(folder, *id, &written);
            }
        }
        Command::Server { names, how } => {
            for Written { certificate, key } in
                how.sign(folder, &[Purpose::Server { names: names.clone() }])?
            {
                let _ = writeln!(
                    text,
                    "for the nodes:\n  http.tls.cert = \"{}\"\n  http.tls.key = \"{}\"\nclients have to trust {}",
                    certificate.display(),
                    key.display(),
                    folder.authority().display()
                );
            }
        }
        Command::Client { names, how } => {
            for Written { certificate, key } in
                how.sign(folder, &[Purpose::Client { names: names.clone() }])?
            {
                let _ = writeln!(
                    text,
                    "for the client: {} and {}\nfor the nodes:\n  http.tls.client_ca = \"{}\"",
                    certificate.display(),
                    key.display(),
                    folder.authority().display()
                );
            }
        }
        Command::Renew { within } => {
            folder.exists()?;
            for (listed, Written { certificate, key }) in folder.renew(*within)? {
                let _ = writeln!(text, "{}: {} and {}", listed.purpose, certificate.display(), key.display());
            }
            if text.is_empty() {
                let _ = writeln!(text, "nothing ends within {within} days");
            }
        }
        Command::List => {
            folder.exists()?;
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            for listed in folder.list()? {
                let _ = writeln!(text, "{}  {}", left(listed.days_left(now)), listed.purpose);
            }
            if text.is_empty() {
                text.push_str("nothing was signed\n");
            }
            // Without its certificate it signs nothing more, and what it signed is good all the same.
            match folder.authority_days_left(now) {
                Ok(days) => text.insert_str(0, &format!("{}  the authority\n", left(days))),
                Err(Error::NoAuthority(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(text)
}

/// How much time is left, in a column.
fn left(days: Option<u64>) -> String {
    days.map_or_else(|| format!("{:>10}", "expired"), |days| format!("{days:>5} days"))
}

fn node(folder: &Folder, id: u64, Written { certificate, key }: &Written) -> String {
    format!(
        "for node {id}:\n  cluster.tls.ca = \"{}\"\n  cluster.tls.cert = \"{}\"\n  cluster.tls.key = \"{}\"\n",
        folder.authority().display(),
        certificate.display(),
        key.display()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// What a line says, in a folder.
    fn said(home: &std::path::Path, line: &str) -> Result<String, String> {
        let folder = home.display().to_string();
        let words = ["certs", "--dir", &folder].into_iter().chain(line.split(' '));
        let arguments = Line::try_parse_from(words).map_err(|error| error.to_string())?.arguments;
        carry_out(&Folder::new(arguments.dir), &arguments.command).map_err(|error| error.to_string())
    }

    #[test]
    fn another_cluster_s_certificate_stays_unless_it_is_to_be_replaced() {
        let home = tempfile::tempdir().unwrap();
        let said = |line: &str| said(home.path(), line);
        said("init").unwrap();
        let listed = said("list").unwrap();
        assert!(listed.starts_with(" 36") && listed.ends_with(" days  the authority\nnothing was signed\n"));
        said("node 2 --cluster production").unwrap();
        let before = std::fs::read(home.path().join("node-2.pem")).unwrap();
        let refused = said("node 1 2 --cluster staging").unwrap_err();
        assert!(refused.contains("node 2 of cluster production; --replace"), "{refused}");
        assert!(!home.path().join("node-1.pem").exists(), "all, or none");
        assert_eq!(std::fs::read(home.path().join("node-2.pem")).unwrap(), before);
        said("renew --within 3650").unwrap();
        said("node 1 2 --cluster staging --replace").unwrap();
        assert!(said("list").unwrap().contains("node 2 of cluster staging"));
        assert!(said("node 0").unwrap_err().contains("0 is not in 1.."));
    }

    #[test]
    fn what_has_ended_is_said_to_have() {
        assert_eq!([left(None), left(Some(0)), left(Some(364))], ["   expired", "    0 days", "  364 days"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let home = tempfile::tempdir().unwrap();
        for line in ["list", "renew", "node 1"] {
            let told = said(&home.path().join("nowhere"), line).unwrap_err();
            assert!(told.contains("there is no authority there"), "{line}: {told}");
        }
    }
}
