# The rules of deploy/alerts, read and made ready for Cloud Monitoring, which knows no recording rules: their names are
# replaced by what they stand for. The policies of this module look at its own pools, database and subscriptions only.

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

  # Every series of another Headcount in the same project is left out: `name{` and a bare `name` get a matcher of the pools.
  own_pools = "pool=~\"${join("|", local.pool_names)}\""
  own_alerts = {
    for name, query in local.expanded_alerts : name => replace(replace(query,
      "/\\b(headcount_[a-z_]+)\\{/", "$1{${local.own_pools},"),
      "/\\b(headcount_[a-z_]+)([^a-z_{]|$)/", "$1{${local.own_pools}}$2",
    )
  }

  # Which pools there should be is known here, and not from what was there yesterday.
  exact_alerts = merge(local.own_alerts, {
    HeadcountNoWorker = join(" or ", [for name in local.pool_names : "absent(headcount_worker_info{pool=\"${name}\"})"])
  })

  platform_groups = yamldecode(file("${path.module}/../alerts/platform.rules.yml")).groups
  platform_rules  = flatten([for group in local.platform_groups : [for rule in group.rules : merge(rule, { group = group.name })]])
  platform_alerts = {
    for rule in local.platform_rules : rule.alert => replace(replace(replace(replace(rule.expr,
      "PROJECT:headcount", local.platform.database),
      "jobs-worker|jobs-dead-worker", join("|", local.platform.subscriptions)),
      "> 160", "> ${floor(local.platform.max_connections * 0.8)}"),
      "> 86400", "> ${local.platform.oldest_message_seconds}",
    )
  }

  queries  = merge(local.exact_alerts, local.platform_alerts)
  policies = merge(local.raw_alerts, { for rule in local.platform_rules : rule.alert => rule })
  seconds  = { s = 1, m = 60, h = 3600 }

  alerts = {
    for name, rule in local.policies : name => {
      group       = rule.group
      query       = trimspace(local.queries[name])
      duration    = tonumber(regex("^[0-9]+", try(rule.for, "0s"))) * local.seconds[regex("[smh]$", try(rule.for, "0s"))]
      severity    = rule.labels.severity
      description = "${rule.annotations.description}\n\n${rule.annotations.runbook_url}"
    }
  }
}
