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

NOT_VACUUMED = text("""
SELECT c.relname AS table, pg_get_userbyid(c.relowner) AS owner
FROM unnest(CAST(:tables AS text[])) AS t (name)
JOIN pg_class c ON c.oid = to_regclass(t.name)
WHERE c.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off', 'autovacuum_enabled=0']
ORDER BY c.relname
""")

# Those that are 0 (off) or above what is wanted. On a Unix socket there is no TCP, and its settings are always 0.
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
