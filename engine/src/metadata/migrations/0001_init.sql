-- The first schema. A released migration is never edited: add the next number.
CREATE TABLE setting   (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE blob      (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, media_type TEXT NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE ingest    (key TEXT PRIMARY KEY, digest TEXT NOT NULL, record TEXT NOT NULL, updated INTEGER NOT NULL) STRICT;
CREATE TABLE layer     (diff_id TEXT PRIMARY KEY, digest TEXT NOT NULL, size INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
CREATE INDEX layer_digest ON layer (digest);
CREATE TABLE image     (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE image_name(reference TEXT PRIMARY KEY, image_id TEXT NOT NULL, owner TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE INDEX image_name_image ON image_name (image_id);
CREATE TABLE snapshot  (key TEXT PRIMARY KEY, kind TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE sandbox   (id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE container (id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, sandbox_id TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE network   (id TEXT PRIMARY KEY, name TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE endpoint  (id TEXT PRIMARY KEY, network_id TEXT NOT NULL, sandbox_id TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE address   (network_id TEXT NOT NULL, address TEXT NOT NULL, endpoint_id TEXT NOT NULL, PRIMARY KEY (network_id, address)) STRICT;
CREATE TABLE volume    (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE lease     (id TEXT PRIMARY KEY, expires INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE event     (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
