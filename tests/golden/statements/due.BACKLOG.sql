SELECT (SELECT count(*) FROM (SELECT FROM job WHERE publish_at <= statement_timestamp() LIMIT 10000) d)
       + (SELECT count(*) FROM (SELECT FROM orchestration
                                WHERE coalesce(event_publish_at, completed_at) <= statement_timestamp()
                                  AND completed_at IS NOT NULL AND event_published_at IS NULL
                                  AND event_refused IS NULL LIMIT 10000) e) AS due,
       CAST(extract(epoch FROM statement_timestamp() - least(
           (SELECT min(publish_at) FROM job WHERE publish_at <= statement_timestamp()),
           (SELECT min(coalesce(event_publish_at, completed_at)) FROM orchestration
            WHERE coalesce(event_publish_at, completed_at) <= statement_timestamp()
              AND completed_at IS NOT NULL AND event_published_at IS NULL AND event_refused IS NULL))) AS float8)
           AS oldest,
       (SELECT count(*) FROM (SELECT FROM orchestration WHERE event_refused IS NOT NULL LIMIT 10000) r) AS refused,
       (SELECT count(*) FROM (SELECT FROM orchestration WHERE completed_at IS NULL LIMIT 100000) u) AS unfinished,
       CAST(extract(epoch FROM statement_timestamp()
                               - (SELECT min(created_at) FROM orchestration WHERE completed_at IS NULL)) AS float8)
           AS oldest_unfinished
