-- Paths of files in the project, until now from the root, are from the state folder: `store/…`, and `../…` beside it. The table `here`
-- says how such paths begin; `project` is null where the state folder is elsewhere. Others stay as they are.

UPDATE file SET path = substr(path, length(own) + 1) FROM here WHERE substr(path, 1, length(own)) = own;
UPDATE file SET path = '../' || substr(path, length(project) + 1) FROM here WHERE substr(path, 1, length(project)) = project;
UPDATE file SET temporary = substr(temporary, length(own) + 1) FROM here WHERE substr(temporary, 1, length(own)) = own;
UPDATE file SET temporary = '../' || substr(temporary, length(project) + 1) FROM here
WHERE substr(temporary, 1, length(project)) = project;

-- What saved stages have stored is known as `file://` and such a path.
UPDATE split SET identity = 'file://' || substr(identity, length('file://' || own) + 1) FROM here
WHERE substr(identity, 1, length('file://' || own)) = 'file://' || own;
