-- Fills the schema: demo.messages messages over the last 60 days, a trace for every fourth of them, up to three
-- results a trace. Every value but the times comes from a row's number through a hash, so two seeds of one size are
-- equal.

INSERT INTO partners (id, name, protocol, stack, country, fail_pct, active, created_at)
SELECT id, name, protocol, stack, country, fail_pct, id <> 11, now() - interval '400 days' + id * interval '9 days'
FROM (VALUES
    (1,  'Nordwind Logistics',  'rest', 'java',       'DE', 4),
    (2,  'Halcyon Retail',      'rest', 'javascript', 'GB', 7),
    (3,  'Bergen Freight',      'as2',  'java',       'NO', 3),
    (4,  'Cobalt Payments',     'rest', 'go',         'IE', 2),
    (5,  'Atelier Lumen',       'sftp', 'python',     'FR', 11),
    (6,  'Ponte Pharma',        'soap', 'java',       'IT', 6),
    (7,  'Kestrel Marketplace', 'rest', 'javascript', 'US', 9),
    (8,  'Silva Foods',         'sftp', 'python',     'PT', 5),
    (9,  'Vistula Parts',       'soap', 'java',       'PL', 26),
    (10, 'Óbuda Books',         'rest', 'python',     'HU', 8),
    (11, 'Larkspur Travel',     'rest', 'go',         'NL', 14),
    (12, '東海 Trading',         'as2',  'go',         'JP', 3)
) AS v(id, name, protocol, stack, country, fail_pct);

-- OFFSET 0 keeps the planner from computing a hash once for each of its uses.
INSERT INTO messages (id, partner_id, direction, kind, external_id, status, attempts, amount, payload, error, created_at, updated_at)
OVERRIDING SYSTEM VALUE
SELECT i, partner_id, (ARRAY['inbound', 'outbound'])[1 + h / 3 % 2], kind, md5(h::text)::uuid, status,
       CASE status WHEN 'pending' THEN 0 WHEN 'processed' THEN 1 ELSE 1 + h / 5 % 4 END, amount,
       message_payload(h, kind, amount),
       CASE WHEN status IN ('failed', 'rejected', 'retrying') THEN error_text(stack, h, created_at) END,
       created_at, created_at + CASE status WHEN 'pending' THEN interval '0' ELSE (h % 55000) * interval '1 millisecond' END
FROM (
    SELECT i, h, p.id AS partner_id, p.stack,
           now() - interval '60 days' - interval '1 minute' + i * (interval '60 days' / current_setting('demo.messages')::int) AS created_at,
           (CASE WHEN h / 101 % 100 < p.fail_pct THEN (ARRAY['failed', 'failed', 'failed', 'rejected', 'retrying'])[1 + h / 13 % 5]
                 WHEN h / 101 % 100 < p.fail_pct + 2 THEN 'pending'
                 ELSE 'processed' END)::message_status AS status,
           (ARRAY['order.created', 'order.cancelled', 'invoice.issued', 'shipment.dispatched', 'stock.changed', 'price.changed'])[1 + h / 17 % 6] AS kind,
           ((h / 19 % 2000000) / 100.0)::numeric(12,2) AS amount
    FROM (SELECT i, hashint8extended(i, 42) & 9223372036854775807 AS h
          FROM generate_series(1, current_setting('demo.messages')::int) AS i OFFSET 0) AS numbered
    -- squared, so that a few partners send most
    JOIN partners p ON p.id = 1 + floor(12 * power(h / 23 % 1000 / 1000.0, 2))::int
    OFFSET 0
) AS rows;
SELECT setval(pg_get_serial_sequence('messages', 'id'), max(id)) FROM messages;

INSERT INTO llm_traces (trace_id, message_id, "timestamp", prompt, completion, deployment_env, service_name, component_name, response_time_ms, created_at)
SELECT 'tr-' || md5('trace' || id), id, created_at + interval '1 second',
       'Classify this ' || kind || ' message of partner ' || partner_id || ': ' || left(payload::text, 120),
       CASE WHEN id % 97 <> 0 THEN (ARRAY['on time', 'late', 'duplicate', 'needs a person'])[1 + (id * 7) % 4] END,
       (ARRAY['production', 'production', 'production', 'staging'])[1 + id / 4 % 4],
       (ARRAY['classifier', 'router', 'summarizer'])[1 + id / 8 % 3],
       (ARRAY['intent', 'sla', 'dedup'])[1 + id / 16 % 3],
       120 + (id * 7919) % 2400, created_at + interval '2 seconds'
FROM messages WHERE id % 4 = 0 ORDER BY id;

-- Every ninth trace has no results.
INSERT INTO llm_metric_results (trace_id, metric_name, metric_value, metric_category, explanation, created_at)
SELECT trace_id, name, CASE WHEN (t.id * 31 + n) % 211 <> 0 THEN round(((t.id * 37 + n * 1009) % 10001) / 10000.0, 4) END,
       category, CASE WHEN (t.id + n) % 3 = 0 THEN 'judged by rule ' || (t.id + n) % 40 END,
       t.created_at + n * interval '3 seconds'
FROM llm_traces t,
     (VALUES (1, 'faithfulness', 'quality'), (2, 'answer_relevancy', 'quality'), (3, 'toxicity', 'safety')) AS m(n, name, category)
WHERE t.id % 9 <> 0
ORDER BY t.id, n;

-- After the rows, since it is faster.
ALTER TABLE messages ADD PRIMARY KEY (id), ADD FOREIGN KEY (partner_id) REFERENCES partners;
CREATE INDEX messages_updated_at ON messages (updated_at);
CREATE INDEX messages_created_at ON messages (created_at);
CREATE INDEX messages_open ON messages (id) WHERE status IN ('pending', 'retrying');
CREATE INDEX llm_traces_created_at ON llm_traces (created_at);
CREATE INDEX llm_metric_results_created_at ON llm_metric_results (created_at);

ANALYZE;
