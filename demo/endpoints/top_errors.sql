-- summary: The commonest errors of a partner
-- description: Failed messages of the last days, by the first line of their error.
-- parameters:
--   - {name: partner, type: text, description: The partner's name; all without it, max_length: 100, example: Bergen Freight}
--   - {name: days, type: integer, description: How far back, default: 7, min: 1, max: 90}
-- cache: 5s
-- limit: 100

SELECT name AS partner, split_part(error, chr(10), 1) AS error, count(*) AS times, max(updated_at) AS last_seen
FROM errors
WHERE ($partner IS NULL OR name = $partner) AND updated_at > now() - to_days($days)
GROUP BY ALL
ORDER BY times DESC, partner, error
