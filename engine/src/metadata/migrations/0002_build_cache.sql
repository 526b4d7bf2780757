-- What steps of builds have made, by the digest of what went into them.
CREATE TABLE build_cache (key TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
