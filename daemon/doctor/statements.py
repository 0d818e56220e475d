"""What the doctor asks a database: the server's facts, its settings, privileges and the care of the hot tables.

Executed by `database` only. Every statement reads the catalogue and runs with the worker's own, least privileges.
"""

from sqlalchemy import text

FACTS = text("""
SELECT CAST(current_setting('server_version_num') AS integer) AS version,
       current_setting('server_version') AS version_text,
       current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() AS standby,
       CAST(current_user AS text) AS role,
       CAST(current_database() AS text) AS database,
       CAST(extract(epoch FROM clock_timestamp()) AS float8) AS clock,
       EXISTS (SELECT FROM pg_roles WHERE rolname = 'cloudsqlsuperuser') AS cloud_sql
""")

ROOM = text("""
SELECT CAST(current_setting('max_connections') AS integer) AS server,
       CAST(current_setting('superuser_reserved_connections') AS integer)
         + CAST(coalesce(current_setting('reserved_connections', true), '0') AS integer) AS reserved,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database,
       (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name IS DISTINCT FROM 'headcount') AS others
""")

SETTINGS = text("""
SELECT name, setting, source FROM pg_settings WHERE name = ANY(CAST(:names AS text[]))
""")

MISSING_PRIVILEGES = text("""
SELECT t.name AS table, pg_get_userbyid(c.relowner) AS owner, array_agg(p.name ORDER BY p.name) AS privileges
FROM unnest(CAST(:tables AS text[])) AS t (name)
JOIN pg_class c ON c.oid = to_regclass(t.name)
CROSS JOIN unnest(CAST(:privileges AS text[])) AS p (name)
WHERE NOT has_table_privilege(c.oid, p.name)
GROUP BY t.name, c.relowner
ORDER BY t.name
""")

# Who has to migrate, where this role may not: the owner of the version table, or of the database.
MIGRATOR = text("""
SELECT pg_get_userbyid(coalesce(c.relowner, d.datdba)) AS owner
FROM pg_database d LEFT JOIN pg_class c ON c.oid = to_regclass(:table)
WHERE d.datname = current_database()
  AND NOT (has_schema_privilege('public', 'CREATE')
           AND (c.oid IS NULL OR pg_has_role(current_user, c.relowner, 'USAGE')))
""")

NO_DEFAULT_PRIVILEGES = text("""
SELECT pg_get_userbyid(c.relowner) AS owner
FROM pg_class c
WHERE c.oid = to_regclass(:table) AND NOT pg_has_role(current_user, c.relowner, 'USAGE')
  AND NOT EXISTS (
      SELECT FROM pg_default_acl a CROSS JOIN LATERAL aclexplode(a.defaclacl) AS e
      WHERE a.defaclrole = c.relowner AND a.defaclobjtype = 'r'
        AND a.defaclnamespace IN (0, CAST('public' AS regnamespace))
        AND e.privilege_type = 'INSERT' AND (e.grantee = 0 OR pg_has_role(current_user, e.grantee, 'USAGE')))
""")

UNKNOWN_JOBS = text("""
WITH seen AS (
    SELECT o.job_name, count(*) AS orchestrations, (array_agg(o.id ORDER BY o.created_at DESC))[1:20] AS newest
    FROM orchestration o WHERE o.completed_at IS NULL GROUP BY o.job_name
)
SELECT s.job_name, s.orchestrations, f.message
FROM seen s
CROSS JOIN LATERAL (
    SELECT f.message FROM job j
    JOIN LATERAL (SELECT kind, message FROM failed_attempt a WHERE a.job_id = j.id ORDER BY a.attempt DESC LIMIT 1) f
      ON f.kind = 'UnknownJob'
    WHERE j.orchestration_id = ANY(s.newest) AND j.status = 'InProgress' LIMIT 1
) f
ORDER BY s.orchestrations DESC, s.job_name LIMIT 20
""")

NOT_VACUUMED = text("""
SELECT c.relname AS table, pg_get_userbyid(c.relowner) AS owner
FROM unnest(CAST(:tables AS text[])) AS t (name)
JOIN pg_class c ON c.oid = to_regclass(t.name)
WHERE c.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off', 'autovacuum_enabled=0']
ORDER BY c.relname
""")

# Options that are 0 (off) or higher than wanted. A Unix socket has no TCP: its TCP options are always 0.
SESSION_OPTIONS = text("""
SELECT w.name, current_setting(w.name) AS setting
FROM unnest(CAST(:names AS text[]), CAST(:wanted AS text[])) AS w (name, wanted)
JOIN pg_settings s ON s.name = w.name
WHERE (inet_server_addr() IS NOT NULL OR w.name NOT LIKE 'tcp\\_%')
  AND (CAST(s.setting AS int) <= 0
       OR CAST(s.setting AS int) > CASE s.unit WHEN 'ms' THEN 1000 * CAST(rtrim(w.wanted, 's') AS int)
                                               ELSE CAST(rtrim(w.wanted, 's') AS int) END)
ORDER BY w.name
""")

PAUSED_JOBS = text("SELECT job_name, paused_at FROM paused_job ORDER BY job_name")
