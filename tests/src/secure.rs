//! Servers that speak TLS, with certificates of an authority that is made for a test.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

/// How certificates are asked for: small keys, made in no time, that last for the test.
const REQUEST: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// An authority and what it signed, in a folder that is gone when dropped.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// An authority with a certificate for servers at `localhost` and 127.0.0.1.
    ///
    /// # Panics
    /// If openssl is not installed.
    #[allow(clippy::new_without_default, clippy::unwrap_used)]
    pub fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        authority.openssl(&format!(
            "{REQUEST} -x509 -days 2 -subj /CN=ours -keyout ours.key -out ours.pem -addext \
             basicConstraints=critical,CA:TRUE"
        ));
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
        fs::write(authority.folder.path().join("names"), names).unwrap();
        authority.openssl(&format!("{REQUEST} -subj /CN=server -keyout s.key -out s.csr"));
        authority.openssl(
            "x509 -req -in s.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile \
             names -out s.pem",
        );
        authority
    }

    #[allow(clippy::unwrap_used)]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The certificate to be trusted.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ours.pem")
    }

    /// Options of a server that speaks TLS at this port, with other servers too, and asks nobody
    /// for a certificate.
    pub fn options(&self, port: u16) -> Vec<String> {
        let words = [
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", &self.path("s.pem")],
            ["--tls-key-file", &self.path("s.key")],
            ["--tls-ca-cert-file", &self.path("ours.pem")],
            ["--tls-auth-clients", "no"],
            ["--tls-replication", "yes"],
            ["--tls-cluster", "yes"],
        ];
        words.as_flattened().iter().map(ToString::to_string).collect()
    }

    /// What redis-cli is told beside.
    pub fn client_words(&self) -> [String; 3] {
        ["--tls".to_owned(), "--cacert".to_owned(), self.path("ours.pem")]
    }
}
