# The rules of deploy/alerts, read and made ready for Cloud Monitoring, which knows no recording rules: their names are
# replaced by what they stand for.

locals {
  rule_groups = yamldecode(file("${path.module}/../alerts/headcount.rules.yml")).groups
  rules       = flatten([for group in local.rule_groups : [for rule in group.rules : merge(rule, { group = group.name })]])
  recorded    = { for rule in local.rules : rule.record => "(${trimspace(rule.expr)})" if can(rule.record) }
  raw_alerts  = { for rule in local.rules : rule.alert => rule if can(rule.alert) }

  # A recording rule may use another one: the ratio holds the rate, which is therefore replaced last.
  expanded_alerts = {
    for name, rule in local.raw_alerts : name => replace(replace(replace(replace(rule.expr,
      "headcount:jobs_errored:ratio15m", local.recorded["headcount:jobs_errored:ratio15m"]),
      "headcount:queue_delay_seconds:p90", local.recorded["headcount:queue_delay_seconds:p90"]),
      "headcount:slots_used:ratio", local.recorded["headcount:slots_used:ratio"]),
      "headcount:jobs_ended:rate15m", local.recorded["headcount:jobs_ended:rate15m"],
    )
  }

  seconds = { s = 1, m = 60, h = 3600 }

  alerts = {
    for name, rule in local.raw_alerts : name => {
      group       = rule.group
      query       = trimspace(local.expanded_alerts[name])
      duration    = tonumber(regex("^[0-9]+", try(rule.for, "0s"))) * local.seconds[regex("[smh]$", try(rule.for, "0s"))]
      severity    = rule.labels.severity
      description = "${rule.annotations.description}\n\n${rule.annotations.runbook_url}"
    }
  }
}
