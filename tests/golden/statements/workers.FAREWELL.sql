DELETE FROM worker WHERE id = %(me)s
