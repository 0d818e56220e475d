SELECT 1 FROM worker WHERE id = %(me)s
