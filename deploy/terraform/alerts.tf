resource "google_monitoring_alert_policy" "headcount" {
  for_each = local.alerts

  project               = var.project
  display_name          = each.key
  combiner              = "OR"
  severity              = each.value.severity == "page" ? "CRITICAL" : "WARNING"
  notification_channels = each.value.severity == "page" ? var.notification_channels : []
  depends_on            = [google_project_service.needed]

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = "${each.value.duration}s"
      evaluation_interval = "30s"
      rule_group          = each.value.group
      alert_rule          = each.key
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
