# Policies for the rules of deploy/alerts: those on the workers' own metrics, and those on Google Cloud's.

locals {
  channels = {
    page   = var.notification_channels
    ticket = var.ticket_channels == null ? var.notification_channels : var.ticket_channels
  }
}

resource "google_monitoring_alert_policy" "headcount" {
  for_each = local.alerts

  project               = var.project
  display_name          = "${each.key} (${var.name})"
  combiner              = "OR"
  severity              = each.value.severity == "page" ? "CRITICAL" : "WARNING"
  notification_channels = local.channels[each.value.severity]
  depends_on            = [google_project_service.needed]

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = "${each.value.duration}s"
      evaluation_interval = "30s"
      rule_group          = each.value.group
      alert_rule          = each.key

      # On a first apply no worker has written these metrics yet, and the policy would be refused.
      disable_metric_validation = true
    }
  }

  documentation {
    content   = each.value.description
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "3600s"
  }
}

check "somebody_is_told_of_alerts" {
  assert {
    condition     = length(local.channels.page) > 0 && length(local.channels.ticket) > 0
    error_message = "notification_channels is empty: alerts open incidents that nobody is told of."
  }
}
