SELECT 1 / count(*) AS fresh, set_config('lock_timeout', %(lock_timeout)s, true)
FROM (SELECT FROM worker
      WHERE id = %(me)s AND seen_at > statement_timestamp() - make_interval(secs => %(ttl)s / 2)
      FOR KEY SHARE) me
