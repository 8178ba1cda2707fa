//! Owns the demo's folder: its lock, its secret, the keys, the ports of last time.
//!
//! Must never be shared by two demos, nor leave a temporary folder behind.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Keys,
    exit::{Exit, Failed},
};

const SECRET_BYTES: usize = 32;

/// The folder, locked.
pub struct Folder {
    dir: PathBuf,
    temporary: bool,
    credentials: Credentials,
    _lock: File,
}

/// What `DIR/credentials.json` says (contract).
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    pub organizer_key: String,
    pub support_key: String,
    pub finance_key: String,
    pub operator_key: String,
    pub gateway_url: String,
    pub gateway_key: String,
    pub webhook_secret: String,
}

/// What must be the same at the next start.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    replicas: u64,
    ports: Vec<u16>,
}

impl Folder {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// When another process uses it, or it was made for another number of replicas.
    pub fn open(dir: Option<PathBuf>, replicas: u64) -> Result<Folder, Failed> {
        let temporary = dir.is_none();
        let dir = match dir {
            Some(dir) => std::path::absolute(&dir).map_err(|error| about(&dir, &error))?,
            None => std::env::temp_dir().join(format!("onsale-demo-{}", hex(8)?)),
        };
        fs::create_dir_all(&dir).map_err(|error| about(&dir, &error))?;
        let lock = lock(&dir)?;
        let kept = read_kept(&dir)?;
        if kept.replicas != 0 && kept.replicas != replicas {
            return Err(Failed {
                exit: Exit::Conflict,
                reason: format!(
                    "{} holds {} replicas, not {replicas}; use --replicas {} or another folder",
                    dir.display(),
                    kept.replicas,
                    kept.replicas
                ),
            });
        }
        let credentials = Credentials::load_or_make(&dir)?;
        let folder = Folder { dir, temporary, credentials, _lock: lock };
        if !folder.secret_file().exists() {
            write_private(&folder.secret_file(), &random(SECRET_BYTES)?)?;
        }
        write_kept(&folder.dir, &Kept { replicas, ports: kept.ports })?;
        Ok(folder)
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A replica's folder.
    pub fn node_dir(&self, node: u64) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    /// Where the cluster's secret is.
    pub fn secret_file(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// The keys.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Writes the keys for scripts, with the sandbox's address of this time.
    pub fn write_credentials(&self, gateway_url: &str) -> Result<(), Failed> {
        let credentials =
            Credentials { gateway_url: gateway_url.to_owned(), ..self.credentials.clone() };
        write_private(&self.dir.join("credentials.json"), &to_json(&credentials)?)
    }

    /// The ports of last time: the sandbox's, then each replica's.
    pub fn ports(&self) -> Vec<u16> {
        read_kept(&self.dir).map(|kept| kept.ports).unwrap_or_default()
    }

    /// Keeps the ports for the next start.
    pub fn keep_ports(&self, ports: &[u16]) -> Result<(), Failed> {
        let kept = read_kept(&self.dir)?;
        write_kept(&self.dir, &Kept { ports: ports.to_vec(), ..kept })
    }

    /// Removes a temporary folder.
    pub fn close(self) {
        if self.temporary {
            // What cannot be removed is the operating system's to clean.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Credentials {
    /// The keys to install, by role.
    pub fn keys(&self) -> Keys {
        Keys(vec![
            ("organizer", self.organizer_key.clone()),
            ("support", self.support_key.clone()),
            ("finance", self.finance_key.clone()),
            ("operator", self.operator_key.clone()),
        ])
    }

    fn load_or_make(dir: &Path) -> Result<Credentials, Failed> {
        let file = dir.join("credentials.json");
        if let Ok(text) = fs::read(&file) {
            return serde_json::from_slice(&text).map_err(|error| {
                Failed::new(format!("{}: {error}; remove it to get new keys", file.display()))
            });
        }
        let key = |role: &str| Ok::<_, Failed>(format!("osk_test_{role}_{}", hex(24)?));
        Ok(Credentials {
            organizer_key: key("organizer")?,
            support_key: key("support")?,
            finance_key: key("finance")?,
            operator_key: key("operator")?,
            gateway_url: String::new(),
            gateway_key: format!("sk_test_{}", hex(24)?),
            webhook_secret: format!("whsec_{}", hex(24)?),
        })
    }
}

/// Writes a file that only its owner reads, all of it or nothing.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Failed> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| about(path, &error))
}

/// A JSON document with a line end.
pub fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Failed> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| Failed::new(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

fn lock(dir: &Path) -> Result<File, Failed> {
    let path = dir.join("demo.lock");
    let file = File::create(&path).map_err(|error| about(&path, &error))?;
    file.try_lock().map_err(|_| Failed {
        exit: Exit::Conflict,
        reason: format!("{} is used by another onsale demo; stop it first", dir.display()),
    })?;
    Ok(file)
}

fn read_kept(dir: &Path) -> Result<Kept, Failed> {
    let path = dir.join("demo.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| Failed::new(format!("{}: {error}", path.display()))),
        Err(_) => Ok(Kept::default()),
    }
}

fn write_kept(dir: &Path, kept: &Kept) -> Result<(), Failed> {
    write_private(&dir.join("demo.json"), &to_json(kept)?)
}

fn about(path: &Path, error: &std::io::Error) -> Failed {
    Failed::new(format!("{}: {error}", path.display()))
}

fn random(bytes: usize) -> Result<Vec<u8>, Failed> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| Failed::new(format!("randomness: {error}")))?;
    Ok(random)
}

fn hex(bytes: usize) -> Result<String, Failed> {
    Ok(random(bytes)?.iter().map(|byte| format!("{byte:02x}")).collect())
}
