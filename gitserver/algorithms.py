"""The SSH algorithms that are offered: modern ones only, AES-GCM first.

The client's order decides within these lists. Stock OpenSSH clients prefer chacha20-poly1305, which costs twice the
CPU here, so it is left out with CTR unless old clients must be served; both are safe (strict key exchange).
"""

KEY_EXCHANGE = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
)
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
LEGACY_CIPHERS = ("aes256-ctr", "aes128-ctr", "chacha20-poly1305@openssh.com")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
# One algorithm a key: the library keeps the chosen one in an object that connections share.
HOST_KEY_SIGNATURES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")


def ciphers(*, legacy: bool) -> tuple[str, ...]:
    """Return the ciphers to offer."""
    return CIPHERS + (LEGACY_CIPHERS if legacy else ())
