"""The audit log in PostgreSQL: its tables, the role that owns them, and the role that may only add to them."""

from readingroom_hub.errors import BadInput

EXPIRED = """record IS NOT NULL AND convert_from(leaf, 'UTF8')::json ->> 'class' = 'access'
    AND (convert_from(leaf, 'UTF8')::json ->> 'time') COLLATE "C" < {}"""
SCHEMA = f"""\
-- Run once as a superuser: psql -v ON_ERROR_STOP=1 -f FILE. Then give readingroom_audit a way to sign in.
CREATE ROLE readingroom_audit_owner NOLOGIN;
CREATE ROLE readingroom_audit LOGIN;
CREATE DATABASE readingroom_audit OWNER readingroom_audit_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE readingroom_audit FROM PUBLIC;
GRANT CONNECT ON DATABASE readingroom_audit TO readingroom_audit;
\\connect readingroom_audit
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SET ROLE readingroom_audit_owner;
CREATE SCHEMA readingroom_audit;
GRANT USAGE ON SCHEMA readingroom_audit TO readingroom_audit;
SET search_path = readingroom_audit;
CREATE TABLE entry(idx bigint PRIMARY KEY, leaf bytea NOT NULL, hash bytea NOT NULL,
    salt bytea, record bytea, note text);
CREATE TABLE cosigned(size bigint PRIMARY KEY, note text NOT NULL);
CREATE TABLE room(bytes bigint NOT NULL);
INSERT INTO room VALUES (:gigabytes * bigint '1000000000');
GRANT SELECT, INSERT ON entry TO readingroom_audit;
GRANT SELECT, INSERT, UPDATE ON cosigned TO readingroom_audit;
GRANT SELECT ON room TO readingroom_audit;
-- Contents go only where the log itself says so: a purge record of the same time comes first.
CREATE FUNCTION purge(before text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    found bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM readingroom_audit.entry
            WHERE CASE WHEN position('"event":"record-purged"'::bytea IN record) > 0 THEN
            convert_from(record, 'UTF8')::json ->> 'event' = 'record-purged'
            AND convert_from(record, 'UTF8')::json #>> '{{subject,before}}' = before END) THEN
        RAISE 'no purge record of % is in the log', before;
    END IF;
    UPDATE readingroom_audit.entry SET salt = NULL, record = NULL WHERE {EXPIRED.format("before")};
    GET DIAGNOSTICS found = ROW_COUNT;
    RETURN found;
END $$;
REVOKE ALL ON FUNCTION purge(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge(text) TO readingroom_audit;
"""  # noqa: S608  # fixed text


def schema(gigabytes: int) -> str:
    """The SQL that makes database, roles and tables, for `psql`. Raises BadInput for a size below 1 GB."""
    if gigabytes < 1:
        raise BadInput(f"a database of {gigabytes} GB holds no audit log: give it 1 GB or more")
    return SCHEMA.replace(":gigabytes", str(gigabytes))
